module github.com/gorsqrt/gorsqrt

go 1.26.0

require (
	github.com/go-python/gopy v0.4.10
	golang.org/x/sys v0.49.0
)
