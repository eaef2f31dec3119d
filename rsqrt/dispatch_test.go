package rsqrt

import (
	"strings"
	"testing"
)

func TestSetTier(t *testing.T) {
	defer func(name string) { must(SetTier(name)) }(Tier())
	for _, name := range Tiers() {
		if must(SetTier(name)); Tier() != name {
			t.Errorf("SetTier(%s) sets %s", name, Tier())
		}
	}
	refusal := "'sse9' is not one that this machine runs: " + strings.Join(Tiers(), ", ")
	if err := SetTier("sse9"); err == nil || !strings.Contains(err.Error(), refusal) {
		t.Errorf("SetTier(sse9): %v", err)
	}
}
