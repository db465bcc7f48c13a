package cli

import "runtime/debug"

// Version is the product's version, with the commit where the build knows it.
func Version() string {
	const version = "0.1.0"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return version + "+" + s.Value[:12]
		}
	}
	return version
}
