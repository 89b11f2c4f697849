// Command tlog reads an audit log of Mandate with public implementations of transparency logs, and nothing of
// Mandate's own: golang.org/x/mod (signed notes, tiles, proofs), and of transparency.dev formats, merkle and tessera.
//
//	tlog verify -key FILE (-folder DIR | -socket FILE) [-since FILE] [-record N]... [-proof FILE]...
//	tlog tamper -key FILE -folder DIR
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"

	"k8s.io/klog/v2"
)

func main() {
	// What tessera's check says on its way is of no use here; what it finds is returned.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "tlog: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say verify or tamper")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	keys := flags.String("key", "", "the log's verifier keys, one a line")
	folder := flags.String("folder", "", "an exported log")
	socket := flags.String("socket", "", "the operators' socket of a server that runs")
	since := flags.String("since", "", "a checkpoint that was kept elsewhere")
	var records numbers
	flags.Var(&records, "record", "the index of a record whose inclusion is proven (more than once)")
	var proofs names
	flags.Var(&proofs, "proof", "what `mandate audit prove --output json` printed (more than once)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	verifiers, err := readKeys(*keys)
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch args[0] {
	case "verify":
		log, err := openLog(*folder, *socket)
		if err != nil {
			return err
		}
		found, err := verify(ctx, log, verifiers, *since, records, proofs)
		if err != nil {
			return err
		}
		fmt.Println(found)
		return nil
	case "tamper":
		return tamper(ctx, *folder, verifiers)
	default:
		return fmt.Errorf("%q is neither verify nor tamper", args[0])
	}
}

type numbers []int64

func (n *numbers) String() string { return fmt.Sprint([]int64(*n)) }

func (n *numbers) Set(text string) error {
	number, err := strconv.ParseInt(text, 10, 64)
	*n = append(*n, number)
	return err
}

type names []string

func (n *names) String() string { return fmt.Sprint([]string(*n)) }

func (n *names) Set(text string) error {
	*n = append(*n, text)
	return nil
}
