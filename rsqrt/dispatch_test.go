package rsqrt

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The Makefile names the tiers that the machine has; a dispatch that leaves one out would only be
// slow.
func TestRequiredTiersAreOffered(t *testing.T) {
	for _, name := range strings.Fields(os.Getenv("GORSQRT_REQUIRE_TIERS")) {
		if !slices.Contains(Tiers(), name) {
			t.Errorf("%s is required, but the dispatch offers %v", name, Tiers())
		}
	}
}
