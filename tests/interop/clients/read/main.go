// Command read reads a whole log and proves entries of it, with nothing but other people's libraries.
//
//	read [-policy FILE] [-proofs N] URL VKEY
//
// It prints one line a check and exits with 1 at the first that fails.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"

	"filippo.io/torchwood"
	fproof "github.com/transparency-dev/formats/proof"
	mproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	policyFile := flag.String("policy", "", "a tlog-policy that proofs have to satisfy; the log's own signature unless given")
	proofs := flag.Int64("proofs", 64, "entries to prove, evenly spread")
	flag.Parse()
	if err := run(flag.Arg(0), flag.Arg(1), *policyFile, *proofs); err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
}

func run(base, vkey, policyFile string, proofs int64) error {
	ctx := context.Background()
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	log := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	policy := log
	if policyFile != "" {
		text, err := os.ReadFile(policyFile)
		if err != nil {
			return err
		}
		if policy, err = torchwood.ParsePolicy(text); err != nil {
			return err
		}
	}

	fetcher, err := torchwood.NewTileFetcher(base)
	if err != nil {
		return err
	}
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		return err
	}
	text, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(text, log)
	if err != nil {
		return err
	}
	step := max(1, checkpoint.N/max(1, proofs))
	var next, proven int64
	for index, entry := range client.AllEntries(ctx, checkpoint.Tree, 0) {
		if index != next {
			return fmt.Errorf("entry %d where %d is due", index, next)
		}
		next++
		if index%step == 0 || index == checkpoint.N-1 {
			if err := prove(base, index, entry, policy); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			proven++
		}
	}
	if err := client.Err(); err != nil {
		return err
	}
	if next != checkpoint.N {
		return fmt.Errorf("%d entries of %d", next, checkpoint.N)
	}
	fmt.Println("torchwood read entries:", next)
	fmt.Println("tlog-proofs that torchwood and formats/proof verify:", proven)
	return nil
}

// prove checks the log's tlog-proof of an entry with two libraries, and that neither takes it for another entry.
func prove(base string, index int64, entry []byte, policy torchwood.Policy) error {
	text, err := get(fmt.Sprintf("%s/v1/entries/%d/tlog-proof", base, index))
	if err != nil {
		return err
	}
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(entry), text); err != nil {
		return fmt.Errorf("torchwood: %w", err)
	}
	other := append([]byte("other"), entry...)
	if torchwood.VerifyProof(policy, tlog.RecordHash(other), text) == nil {
		return errors.New("torchwood: proves another entry too")
	}
	var proof fproof.TLogProof
	if err := proof.Unmarshal(text); err != nil {
		return fmt.Errorf("formats/proof: %w", err)
	}
	if !bytes.Equal(proof.Marshal(), text) {
		return errors.New("formats/proof: writes another text")
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(proof.Checkpoint, policy)
	if err != nil {
		return err
	}
	var hashes [][]byte
	for _, hash := range proof.Hashes {
		hashes = append(hashes, hash[:])
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entry)
	return mproof.VerifyInclusion(rfc6962.DefaultHasher, proof.Index, uint64(checkpoint.N), leaf, hashes, checkpoint.Hash[:])
}

func get(url string) ([]byte, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return body, err
}
