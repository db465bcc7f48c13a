package cli

import "runtime/debug"

// version and commit may be set by the linker (-X), as docs/deploy/build.sh does.
var (
	version = "0.1.0"
	commit  = ""
)

// Version is the product's version, with the commit where the build knows it.
func Version() string {
	revision := commit
	if info, ok := debug.ReadBuildInfo(); ok && revision == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if len(revision) >= 12 {
		return version + "+" + revision[:12]
	}
	return version
}
