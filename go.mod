module github.com/gorsqrt/gorsqrt

go 1.26.0

require (
	github.com/go-python/gopy v0.4.10
	golang.org/x/sys v0.49.0
	gorgonia.org/cu v0.9.6
)

require (
	github.com/google/uuid v1.1.1 // indirect
	github.com/pkg/errors v0.9.1 // indirect
)
