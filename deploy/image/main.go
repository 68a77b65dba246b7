// Command image writes a container image of lmqgate as an OCI image layout, without a daemon and without a network. See deploy/dist.sh.
//
//	image -dir DIR -version VERSION -revision COMMIT -epoch SECONDS ARCH=TREE...
//
// TREE has lmqgate and plugins for linux/ARCH. Run times load the layout, for example:
//
//	skopeo copy oci:DIR docker://registry.example.com/lmqgate:VERSION
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run() error {
	dir := flag.String("dir", "", "directory to write")
	version := flag.String("version", "", "version of the image")
	revision := flag.String("revision", "", "commit that it is made from")
	epoch := flag.Int64("epoch", 0, "time of every file, in seconds since 1970")
	config := flag.String("config", "deploy/image/lmqgate.yaml", "configuration to start with")
	licence := flag.String("licence", "LICENSE", "licence")
	flag.Parse()
	im := Image{Version: *version, Revision: *revision, Time: time.Unix(*epoch, 0), Trees: map[string]string{}}
	for _, arg := range flag.Args() {
		arch, tree, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is no ARCH=TREE", arg)
		}
		im.Trees[arch] = tree
	}
	if *dir == "" || *version == "" || len(im.Trees) == 0 {
		return errors.New("-dir, -version and at least one ARCH=TREE are wanted")
	}
	var err error
	if im.Config, err = os.ReadFile(*config); err != nil {
		return err
	}
	if im.Licence, err = os.ReadFile(*licence); err != nil {
		return err
	}
	return im.Write(*dir)
}
