// The API server of Kubernetes, as its own program runs it. Built from here because the published
// module cannot be installed by itself: it replaces its parts by folders that it does not bring.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
