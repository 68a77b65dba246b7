package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What the image has. It has no shell and no package manager: a gateway, its plugins and where they keep what they write.
const (
	uid  = 65532 // who the gateway runs as
	home = "/var/lib/lmqgate"
	conf = "/etc/lmqgate/lmqgate.yaml"
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Image is what an image is made from.
type Image struct {
	Version, Revision string
	// Trees are directories with lmqgate and plugins, by the architecture that they are for, as Go calls it.
	Trees map[string]string
	// Config is the configuration file that the image starts with.
	Config []byte
	// Licence is the text that goes along.
	Licence []byte
	// Time is what every file and the image carry, so that the same input makes the same bytes.
	Time time.Time
}

// descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type imageConfig struct {
	Created      time.Time `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       struct {
		User         string
		ExposedPorts map[string]struct{}
		Env          []string
		Entrypoint   []string
		Cmd          []string
		Volumes      map[string]struct{}
		WorkingDir   string
		Labels       map[string]string
		StopSignal   string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	} `json:"history"`
}

// Write writes the image into a directory as an OCI image layout (https://github.com/opencontainers/image-spec, image-layout.md), which
// tools copy to registries and run times load.
func (im Image) Write(dir string) error {
	out := &layout{dir: dir}
	index := manifest{SchemaVersion: 2, MediaType: typeIndex}
	var archs []string
	for arch := range im.Trees {
		archs = append(archs, arch)
	}
	slices.Sort(archs)
	for _, arch := range archs {
		d, err := im.one(out, arch)
		if err != nil {
			return fmt.Errorf("the image for %s: %w", arch, err)
		}
		index.Manifests = append(index.Manifests, d)
	}
	all, err := out.json(typeIndex, index)
	if err != nil {
		return err
	}
	all.Annotations = map[string]string{"org.opencontainers.image.ref.name": im.Version}
	if err := out.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	top, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{all}})
	if err != nil {
		return err
	}
	return out.file("index.json", top)
}

// one writes the image of one architecture.
func (im Image) one(out *layout, arch string) (descriptor, error) {
	layer, plain, err := im.layer(im.Trees[arch])
	if err != nil {
		return descriptor{}, err
	}
	at, err := out.blob(typeLayer, layer)
	if err != nil {
		return descriptor{}, err
	}
	labels := map[string]string{
		"org.opencontainers.image.title": "lmqgate", "org.opencontainers.image.description": "MQTT gateway on Apache RocketMQ",
		"org.opencontainers.image.version": im.Version, "org.opencontainers.image.revision": im.Revision,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	c := imageConfig{Created: im.Time.UTC(), Architecture: arch, OS: "linux"}
	c.Config.User = fmt.Sprintf("%d:%d", uid, uid)
	c.Config.ExposedPorts = map[string]struct{}{"1883/tcp": {}, "8083/tcp": {}, "8080/tcp": {}}
	c.Config.Env = []string{"PATH=/usr/bin"}
	c.Config.Entrypoint, c.Config.Cmd = []string{"/usr/bin/lmqgate"}, []string{"serve", "--config", conf}
	c.Config.Volumes = map[string]struct{}{home: {}}
	c.Config.WorkingDir, c.Config.Labels, c.Config.StopSignal = home, labels, "SIGTERM"
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{plain}
	c.History = append(c.History, struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}{im.Time.UTC(), "deploy/image"})
	config, err := out.json(typeConfig, c)
	if err != nil {
		return descriptor{}, err
	}
	d, err := out.json(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: &config, Layers: []descriptor{at},
		Annotations: labels})
	d.Platform = &platform{arch, "linux"}
	return d, err
}

// layer makes the one layer, compressed, and returns the digest of what it is before that.
func (im Image) layer(tree string) (compressed []byte, plain string, err error) {
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	add := func(name string, mode int64, owner int, content []byte) {
		h := &tar.Header{Name: name[1:], Mode: mode, Uid: owner, Gid: owner, ModTime: im.Time, Format: tar.FormatUSTAR,
			Typeflag: tar.TypeReg, Size: int64(len(content))}
		if content == nil {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = w.Write(content)
		}
	}
	for _, d := range []string{"/etc", "/etc/lmqgate", "/usr", "/usr/bin", "/usr/bin/plugins", "/usr/share", "/usr/share/doc",
		"/usr/share/doc/lmqgate", "/var", "/var/lib"} {
		add(d, 0o755, 0, nil)
	}
	add(home, 0o750, uid, nil)
	add("/tmp", 0o1777, 0, nil)
	add("/etc/passwd", 0o644, 0, fmt.Appendf(nil, "root:x:0:0:root:/:/nologin\nlmqgate:x:%d:%d:lmqgate:%s:/nologin\n", uid, uid, home))
	add("/etc/group", 0o644, 0, fmt.Appendf(nil, "root:x:0:\nlmqgate:x:%d:\n", uid))
	add(conf, 0o644, 0, im.Config)
	add("/usr/share/doc/lmqgate/copyright", 0o644, 0, im.Licence)
	files, globErr := filepath.Glob(filepath.Join(tree, "plugins", "*"))
	if globErr != nil || len(files) == 0 {
		return nil, "", fmt.Errorf("no plugins in %s: %w", tree, globErr)
	}
	for _, f := range append([]string{filepath.Join(tree, "lmqgate")}, files...) {
		content, readErr := os.ReadFile(f)
		if readErr != nil {
			return nil, "", readErr
		}
		rel, _ := filepath.Rel(tree, f)
		add("/usr/bin/"+filepath.ToSlash(rel), 0o755, 0, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, "", err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(raw.Bytes()); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	return packed.Bytes(), digest(raw.Bytes()), nil
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// layout is a directory that is being written.
type layout struct{ dir string }

func (l *layout) file(name string, content []byte) error {
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a release is for everybody
		return err
	}
	return os.WriteFile(path, content, 0o644) //nolint:gosec // the same
}

func (l *layout) blob(kind string, content []byte) (descriptor, error) {
	d := descriptor{MediaType: kind, Digest: digest(content), Size: int64(len(content))}
	return d, l.file(filepath.Join("blobs", "sha256", d.Digest[len("sha256:"):]), content)
}

func (l *layout) json(kind string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(kind, b)
}
