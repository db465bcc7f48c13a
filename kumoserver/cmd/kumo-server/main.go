// Kumo-server runs a server of a kumofs cluster; see kumo-server --help.
package main

import (
	"os"

	"github.com/etolabo/kumofs/kumoctl/daemon"
)

func main() { os.Exit(daemon.Main("server", "kumo-server", os.Args[1:])) }
