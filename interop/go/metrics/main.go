// Command metrics scrapes Mandate as Prometheus does: its Accept header, and its own parser of what comes.
//
//	metrics URL
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// What Prometheus 3 sends.
const accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
	"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," +
	"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "prometheus: %v\n", err)
		os.Exit(1)
	}
}

func run(url string) error {
	body, kind, err := scrape(url)
	if err != nil {
		return err
	}
	found, err := parse(body, kind)
	if err != nil {
		return err
	}
	for _, family := range []string{"mandate_issued", "mandate_gateway_decisions", "mandate_commit_seconds"} {
		if found.types[family] == "" {
			return fmt.Errorf("there is no %s", family)
		}
	}
	if found.issued == 0 {
		return errors.New("no token was counted")
	}
	// The parser is one that would have noticed.
	if _, err := parse(bytes.TrimSuffix(body, []byte("# EOF\n")), kind); err == nil {
		return errors.New("a scrape that was cut off was accepted")
	}
	fmt.Printf("prometheus: %d series of %d metrics, as %s\n", len(found.series), len(found.types), kind)
	return nil
}

func scrape(url string) (body []byte, kind string, err error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s: %s", url, answer.Status)
	}
	body, err = io.ReadAll(answer.Body)
	return body, answer.Header.Get("Content-Type"), err
}

type found struct {
	types  map[string]model.MetricType
	series map[string]bool
	issued float64
}

func parse(body []byte, kind string) (found, error) {
	all := found{map[string]model.MetricType{}, map[string]bool{}, 0}
	parser, err := textparse.New(body, kind, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return all, err
	}
	if _, fallback := parser.(*textparse.PromParser); fallback {
		return all, fmt.Errorf("%q is not read as OpenMetrics", kind)
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		switch entry {
		case textparse.EntryType:
			name, kind := parser.Type()
			if kind == model.MetricTypeUnknown {
				return all, fmt.Errorf("%s has no type", name)
			}
			all.types[string(name)] = kind
		case textparse.EntrySeries:
			if err := all.take(parser); err != nil {
				return all, err
			}
		}
	}
}

func (f *found) take(parser textparse.Parser) error {
	_, _, value := parser.Series()
	var of labels.Labels
	parser.Labels(&of)
	if !of.IsValid(model.LegacyValidation) {
		return fmt.Errorf("%s is no series", of)
	}
	if f.series[of.String()] {
		return fmt.Errorf("%s comes twice", of)
	}
	f.series[of.String()] = true
	name := of.Get(labels.MetricName)
	if value < 0 && strings.HasSuffix(name, "_total") {
		return fmt.Errorf("%s is negative", of)
	}
	if name == "mandate_issued_total" {
		f.issued += value
	}
	return nil
}
