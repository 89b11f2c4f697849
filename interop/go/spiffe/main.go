// Command spiffe validates a JWT-SVID of Mandate against the trust domain's bundle with SPIFFE's own library.
//
//	spiffe -domain NAME -bundle URL -svid FILE -audience AUDIENCE -other FILE
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "go-spiffe: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	domain := flag.String("domain", "", "the trust domain")
	endpoint := flag.String("bundle", "", "the SPIFFE bundle endpoint")
	file := flag.String("svid", "", "a JWT-SVID")
	audience := flag.String("audience", "", "whom it is for")
	other := flag.String("other", "", "a token of another kind")
	flag.Parse()
	trustDomain, err := spiffeid.TrustDomainFromString(*domain)
	if err != nil {
		return err
	}
	document, err := fetch(*endpoint)
	if err != nil {
		return err
	}
	whole, err := spiffebundle.Parse(trustDomain, document)
	if err != nil {
		return err
	}
	if hint, ok := whole.RefreshHint(); !ok || hint <= 0 {
		return fmt.Errorf("the bundle has no refresh hint")
	}
	if _, ok := whole.SequenceNumber(); !ok {
		return fmt.Errorf("the bundle has no sequence number")
	}
	bundle, err := jwtbundle.Parse(trustDomain, document)
	if err != nil {
		return err
	}
	token, err := read(*file)
	if err != nil {
		return err
	}
	svid, err := jwtsvid.ParseAndValidate(token, bundle, []string{*audience})
	if err != nil {
		return err
	}
	if !svid.ID.MemberOf(trustDomain) {
		return fmt.Errorf("%s is of another trust domain", svid.ID)
	}
	if err := refusals(token, *audience, *other, trustDomain, bundle); err != nil {
		return err
	}
	fmt.Printf("go-spiffe: the bundle parses, and the JWT-SVID of %s validates against it\n", svid.ID)
	return nil
}

// Refusals are what the library must not take for a JWT-SVID of this trust domain and audience.
func refusals(
	token, audience, other string, trustDomain spiffeid.TrustDomain, bundle *jwtbundle.Bundle,
) error {
	if _, err := jwtsvid.ParseAndValidate(token, bundle, []string{"https://other.example"}); err == nil {
		return fmt.Errorf("another audience was accepted")
	}
	if _, err := jwtsvid.ParseAndValidate(token, jwtbundle.New(trustDomain), []string{audience}); err == nil {
		return fmt.Errorf("a bundle without keys was enough")
	}
	strange, err := read(other)
	if err != nil {
		return err
	}
	if _, err := jwtsvid.ParseAndValidate(strange, bundle, []string{audience}); err == nil {
		return fmt.Errorf("an access token was accepted")
	}
	return nil
}

func read(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

func fetch(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}
