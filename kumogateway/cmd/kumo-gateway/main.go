// Kumo-gateway runs a gateway of a kumofs cluster; see kumo-gateway --help.
package main

import (
	"os"

	"github.com/etolabo/kumofs/kumoctl/daemon"
)

func main() { os.Exit(daemon.Main("gateway", "kumo-gateway", os.Args[1:])) }
