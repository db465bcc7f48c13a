package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
)

//go:embed page
var files embed.FS

// policy lets the page load what this port serves, and nothing else; no text of
// the cluster can become a script, a style or a form.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves the files of the page.
type page struct {
	files map[string][]byte // by the path of the request
	hash  string            // of all files
}

func readPage() (*page, error) {
	p := &page{files: map[string][]byte{}}
	sum := sha256.New()
	err := fs.WalkDir(files, "page", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		sum.Write(data)
		to := "/" + path.Base(name)
		if to == "/index.html" {
			to = "/"
		}
		p.files[to] = data
		return err
	})
	p.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return p, err
}

var types = map[string]string{
	"": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, ok := p.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(r.URL.Path)])
	h.Set("Cache-Control", "no-cache") // asked again each time, which costs 304
	h.Set("ETag", `"`+p.hash+`"`)
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(data)
}
