// Kumo-manager runs a manager of a kumofs cluster; see kumo-manager --help.
package main

import (
	"os"

	"github.com/etolabo/kumofs/kumoctl/daemon"
)

func main() { os.Exit(daemon.Main("manager", "kumo-manager", os.Args[1:])) }
