package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

// Tamper changes copies of a log that verifies, one thing at a time. Each copy must be refused.
func tamper(ctx context.Context, folder string, verifiers []note.Verifier) error {
	check := func(folder string, verifiers []note.Verifier) error {
		_, err := verify(ctx, client.FileFetcher{Root: folder}, verifiers, "", nil, nil)
		return err
	}
	if err := check(folder, verifiers); err != nil {
		return fmt.Errorf("the log does not verify as it is: %w", err)
	}
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	flipped, removed := 0, 0
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, at := range []int{0, len(whole) / 2, len(whole) - 1} {
			changed := append([]byte(nil), whole...)
			changed[at] ^= 1
			if err := refused(path, whole, changed, func() error { return check(folder, verifiers) }); err != nil {
				return fmt.Errorf("%s with byte %d flipped: %w", path, at, err)
			}
			flipped++
		}
		if err := refused(path, whole, nil, func() error { return check(folder, verifiers) }); err != nil {
			return fmt.Errorf("without %s: %w", path, err)
		}
		removed++
	}
	_, stranger, err := note.GenerateKey(rand.Reader, verifiers[0].Name())
	if err != nil {
		return err
	}
	other, err := note.NewVerifier(stranger)
	if err != nil {
		return err
	}
	if check(folder, []note.Verifier{other}) == nil {
		return errors.New("another key was taken for the log's")
	}
	fmt.Printf("refused: %d flipped bytes and %d removed files in %d files, and another key\n",
		flipped, removed, len(files))
	return nil
}

var errAccepted = errors.New("was accepted")

// Refused changes a file, or removes it where changed is nil, sees that the log is refused, and mends it.
func refused(path string, whole, changed []byte, check func() error) error {
	var err error
	if changed == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, changed, 0o600)
	}
	if err != nil {
		return err
	}
	accepted := check() == nil
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		return err
	}
	if accepted {
		return errAccepted
	}
	return nil
}
