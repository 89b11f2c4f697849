package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// openLog is the log in a folder, or behind the operators' socket: both have one layout.
func openLog(folder, socket string) (fsck.Fetcher, error) {
	if socket == "" {
		return client.FileFetcher{Root: folder}, nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	root := &url.URL{Scheme: "http", Host: "mandate", Path: "/log/"}
	return client.NewHTTPFetcher(root, &http.Client{Transport: &http.Transport{DialContext: dial}})
}

func readKeys(file string) ([]note.Verifier, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var verifiers []note.Verifier
	for _, line := range strings.Fields(string(text)) {
		verifier, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		verifiers = append(verifiers, verifier)
	}
	return verifiers, nil
}

// Signed is a checkpoint, and the key that signed it.
type signed struct {
	log.Checkpoint
	verifier note.Verifier
}

func openCheckpoint(raw []byte, verifiers []note.Verifier) (signed, error) {
	err := errors.New("no keys")
	for _, verifier := range verifiers {
		var checkpoint *log.Checkpoint
		checkpoint, _, _, err = log.ParseCheckpoint(raw, verifier.Name(), verifier)
		if err == nil {
			return signed{*checkpoint, verifier}, nil
		}
	}
	return signed{}, err
}

func (s signed) tree() (tlog.Tree, error) {
	tree := tlog.Tree{N: int64(s.Size)}
	if copy(tree.Hash[:], s.Hash) != len(tree.Hash) {
		return tree, errors.New("the root has another length")
	}
	return tree, nil
}

// A server that runs goes on writing: everything is checked against the checkpoint that was read first.
type fixed struct {
	fsck.Fetcher
	checkpoint []byte
}

func (f fixed) ReadCheckpoint(context.Context) ([]byte, error) { return f.checkpoint, nil }

func verify(
	ctx context.Context, source fsck.Fetcher, verifiers []note.Verifier, since string, records []int64, proofs []string,
) (string, error) {
	raw, err := source.ReadCheckpoint(ctx)
	if err != nil {
		return "", err
	}
	checkpoint, err := openCheckpoint(raw, verifiers)
	if err != nil {
		return "", err
	}
	source = fixed{source, raw}
	if err := checkWhole(ctx, source, checkpoint); err != nil {
		return "", err
	}
	tree, err := checkpoint.tree()
	if err != nil {
		return "", err
	}
	reader := tlog.TileHashReader(tree, tiles{ctx, source, tree.N})
	found := fmt.Sprintf("%d records of %s, key %08x: signature, every entry and tile",
		checkpoint.Size, checkpoint.Origin, checkpoint.verifier.KeyHash())
	for _, index := range records {
		if err := included(ctx, source, tree, reader, index); err != nil {
			return "", fmt.Errorf("record %d: %w", index, err)
		}
		found += fmt.Sprintf(", inclusion of %d", index)
	}
	if since != "" {
		size, err := goesOn(tree, reader, since, verifiers)
		if err != nil {
			return "", err
		}
		found += fmt.Sprintf(", consistency since %d", size)
	}
	for _, file := range proofs {
		index, err := checkProof(file, verifiers)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		found += fmt.Sprintf(", the proof of %d", index)
	}
	return found, nil
}

// CheckWhole is tessera's own check of every entry and tile. Where many tiles differ, its version 1.0.4 stops
// before it has read them all, and never returns.
func checkWhole(ctx context.Context, source fsck.Fetcher, checkpoint signed) error {
	whole := fsck.New(checkpoint.Origin, checkpoint.verifier, source, leafHashes, fsck.Opts{N: 16})
	found := make(chan error, 1)
	go func() { found <- whole.Check(ctx) }()
	select {
	case err := <-found:
		return err
	case <-time.After(time.Minute):
		return errors.New("the check did not end: the log is too large for this, or many tiles differ")
	}
}

func leafHashes(raw []byte) ([][]byte, error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(raw); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range bundle.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

// Included proves with x/mod's own code that the entry is in the tree.
func included(ctx context.Context, source fsck.Fetcher, tree tlog.Tree, reader tlog.HashReader, index int64) error {
	if index >= tree.N {
		return fmt.Errorf("the log has %d records", tree.N)
	}
	bundle, err := client.GetEntryBundle(ctx, source.ReadEntryBundle, uint64(index)/256, uint64(tree.N))
	if err != nil {
		return err
	}
	path, err := tlog.ProveRecord(tree.N, index, reader)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(bundle.Entries[index%256]))
}

// GoesOn proves that the log begins with the records of a checkpoint that was kept elsewhere.
func goesOn(tree tlog.Tree, reader tlog.HashReader, since string, verifiers []note.Verifier) (uint64, error) {
	raw, err := os.ReadFile(since)
	if err != nil {
		return 0, err
	}
	kept, err := openCheckpoint(raw, verifiers)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", since, err)
	}
	before, err := kept.tree()
	if err != nil {
		return 0, err
	}
	if before.N > tree.N {
		return 0, fmt.Errorf("rolled back: %d records, and %d before", tree.N, before.N)
	}
	path, err := tlog.ProveTree(tree.N, before.N, reader)
	if err != nil {
		return 0, err
	}
	if err := tlog.CheckTree(path, tree.N, tree.Hash, before.N, before.Hash); err != nil {
		return 0, fmt.Errorf("forked: %w", err)
	}
	return kept.Size, nil
}

// CheckProof needs nothing but the file and the key: whoever gets it has no access to the log.
func checkProof(file string, verifiers []note.Verifier) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var said struct {
		Index      uint64
		Entry      string
		Leaf       string
		Proof      []string
		Checkpoint string
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return 0, err
	}
	checkpoint, err := openCheckpoint([]byte(said.Checkpoint), verifiers)
	if err != nil {
		return 0, err
	}
	var path [][]byte
	for _, hash := range said.Proof {
		bytes, err := base64.StdEncoding.DecodeString(hash)
		if err != nil {
			return 0, err
		}
		path = append(path, bytes)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf([]byte(said.Entry))
	if named, err := base64.StdEncoding.DecodeString(said.Leaf); err != nil || !bytes.Equal(named, leaf) {
		return 0, errors.New("the leaf is not the entry's hash")
	}
	err = proof.VerifyInclusion(
		rfc6962.DefaultHasher, said.Index, checkpoint.Size, leaf, path, checkpoint.Hash)
	if err != nil {
		return 0, fmt.Errorf("the proof does not hold: %w", err)
	}
	return said.Index, nil
}

// Tiles gives x/mod's tlog the files of a C2SP log; both have tiles of height 8.
type tiles struct {
	ctx    context.Context
	source fsck.Fetcher
	size   int64
}

func (t tiles) Height() int { return 8 }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		// A width that is not full is that of the log's end, and 256 is written as 0 there.
		partial := uint8(tile.W % 256)
		bytes, err := t.source.ReadTile(t.ctx, uint64(tile.L), uint64(tile.N), partial)
		if err != nil {
			return nil, err
		}
		if len(bytes) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %v is too short", tile)
		}
		all = append(all, bytes[:tile.W*tlog.HashSize])
	}
	return all, nil
}
