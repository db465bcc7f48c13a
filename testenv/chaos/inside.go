package chaos

import "errors"

// ErrNoNamespaces says that this machine gives a run no network of its own.
var ErrNoNamespaces = errors.New("no network namespaces here")
