// Command load adds entries to a log by `POST /add` and says how fast that went, as one line of JSON.
//
//	load -url URL -writers 64 -time 10s             adds as fast as they are answered
//	load -url URL -rate 100 -prove VKEY -time 10s   at a rate; an add ends when its inclusion is proven from the log's tiles
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type result struct {
	Adds    int     `json:"adds"`
	Failed  int     `json:"failed"`
	Pushed  int     `json:"pushed_back"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	First   string  `json:"first_failure,omitempty"`
}

type load struct {
	url    string
	size   int
	client *http.Client
	// Set where each add has to be proven.
	policy torchwood.Policy

	mu     sync.Mutex
	spent  []time.Duration
	failed int
	first  string
	pushed int
}

func main() {
	url := flag.String("url", "", "the log")
	writers := flag.Int("writers", 64, "adds that are under way at a time, at most")
	rate := flag.Int("rate", 0, "adds a second; as many as are answered unless given")
	size := flag.Int("size", 1000, "bytes of an entry")
	during := flag.Duration("time", 10*time.Second, "how long to add")
	prove := flag.String("prove", "", "the log's verifier key: prove each entry")
	flag.Parse()
	transport := &http.Transport{MaxIdleConnsPerHost: 1024}
	l := &load{url: *url, size: *size, client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	if *prove != "" {
		verifier, err := note.NewVerifier(*prove)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		l.policy = torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	}
	out, _ := json.Marshal(l.run(*writers, *rate, *during))
	fmt.Println(string(out))
}

func (l *load) run(writers, rate int, during time.Duration) result {
	due := make(chan time.Time)
	start := time.Now()
	go func() {
		defer close(due)
		for at := start; at.Sub(start) < during; {
			if rate > 0 {
				at = at.Add(time.Second / time.Duration(rate))
				time.Sleep(time.Until(at))
			} else {
				at = time.Now()
			}
			due <- at
		}
	}()
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for at := range due {
				// A writer that comes late counts what the add waited for it: a slow log slows nobody's clock.
				if rate == 0 {
					at = time.Now()
				}
				l.note(at, l.add())
			}
		})
	}
	all.Wait()
	return l.result(time.Since(start))
}

func (l *load) note(since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.spent = append(l.spent, time.Since(since))
		return
	}
	l.failed++
	if l.first == "" {
		l.first = err.Error()
	}
}

func (l *load) add() error {
	random := make([]byte, l.size/2)
	rand.Read(random)
	entry := []byte(hex.EncodeToString(random))
	status, body, err := l.post(entry)
	for pushed := 0; err == nil && isPushback(status) && pushed < 1000; pushed++ {
		l.mu.Lock()
		l.pushed++
		l.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		status, body, err = l.post(entry)
	}
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%d: %s", status, body)
	}
	index, err := strconv.ParseInt(string(body), 10, 64)
	if err != nil || l.policy == nil {
		return err
	}
	return l.prove(index, entry)
}

func (l *load) post(entry []byte) (int, []byte, error) {
	response, err := l.client.Post(l.url+"/add", "application/octet-stream", bytes.NewReader(entry))
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// isPushback says whether a log has taken nothing because it is busy: asking again is the client's part.
func isPushback(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// prove waits for a checkpoint that covers the entry, and proves its inclusion from tiles.
func (l *load) prove(index int64, entry []byte) error {
	fetcher, err := torchwood.NewTileFetcher(l.url, torchwood.WithHTTPClient(l.client))
	if err != nil {
		return err
	}
	for give_up := time.Now().Add(10 * time.Second); time.Now().Before(give_up); time.Sleep(time.Millisecond) {
		text, err := fetcher.ReadEndpoint(context.Background(), "checkpoint")
		if err != nil {
			return err
		}
		checkpoint, _, err := torchwood.VerifyCheckpoint(text, l.policy)
		if err != nil {
			return err
		}
		if checkpoint.N <= index {
			continue
		}
		tiles := torchwood.TileHashReaderWithContext(context.Background(), checkpoint.Tree, fetcher)
		proof, err := tlog.ProveRecord(checkpoint.N, index, tiles)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, checkpoint.N, checkpoint.Hash, index, tlog.RecordHash(entry))
	}
	return fmt.Errorf("no checkpoint covers entry %d", index)
}

func (l *load) result(took time.Duration) result {
	slices.Sort(l.spent)
	at := func(part float64) float64 {
		if len(l.spent) == 0 {
			return 0
		}
		return float64(l.spent[int(part*float64(len(l.spent)-1))].Microseconds()) / 1000
	}
	return result{len(l.spent), l.failed, l.pushed, took.Seconds(), at(0.5), at(0.99), l.first}
}
