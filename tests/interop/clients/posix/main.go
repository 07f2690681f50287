// Command posix serves a log from Tessera's POSIX storage at the fastest settings that keep its durability: a small batch
// age, the shortest checkpoint interval that it allows, antispam on. It is what raw mode is measured against.
//
//	posix -dir DIR
//
// It says where it listens and what its verifier key is, and keeps neither key nor log for another start.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	antispam "github.com/transparency-dev/tessera/storage/posix/antispam"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	dir := flag.String("dir", "", "where the log is")
	age := flag.Duration("age", 5*time.Millisecond, "the longest that a batch waits")
	size := flag.Uint("size", 256, "the most entries of a batch")
	flag.Parse()
	if err := serve(*dir, *age, *size); err != nil {
		log.Fatal(err)
	}
}

func serve(dir string, age time.Duration, size uint) error {
	ctx := context.Background()
	secret, public, err := note.GenerateKey(rand.Reader, "example.org/posix")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return err
	}
	seen, err := antispam.NewAntispam(ctx, filepath.Join(dir, ".state", "antispam"), antispam.AntispamOpts{})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(100*time.Millisecond).
		WithBatching(size, age).
		WithAntispam(tessera.DefaultAntispamInMemorySize, seen)
	appender, _, _, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	http.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		entry, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		index, err := appender.Add(r.Context(), tessera.NewEntry(entry))()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%d", index.Index)
	})
	files := http.FileServer(http.Dir(dir))
	http.Handle("GET /checkpoint", files)
	http.Handle("GET /tile/", files)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s %s\n", listener.Addr(), public)
	return http.Serve(listener, nil)
}
