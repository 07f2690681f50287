// Command keys makes the keys of a witness with one Ed25519 and one ML-DSA-44 key.
//
//	keys DIR NAME
//
// It writes ed25519.key and mldsa.key, which the witness reads, and prints the two keys that verify its cosignatures.
package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"path/filepath"

	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(dir, name string) error {
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return err
	}
	cosigner, err := formats.VKeyToCosignatureV1(public)
	if err != nil {
		return err
	}
	secretMLDSA, cosignerMLDSA, err := formats.GenerateMLDSAKey(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ed25519.key"), []byte(secret), 0o600); err != nil {
		return err
	}
	fmt.Println(cosigner)
	fmt.Println(cosignerMLDSA)
	return os.WriteFile(filepath.Join(dir, "mldsa.key"), []byte(secretMLDSA), 0o600)
}
