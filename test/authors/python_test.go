package authors

import (
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// python returns a Python with grpcio and protobuf in the versions of the projects of plugin init: that of the example.
func python(t *testing.T) string {
	t.Helper()
	need(t, "make", "python3")
	example := filepath.Join(root(t), "examples", "auth-python")
	in(t, example, "make", "build")
	return filepath.Join(example, "build", strings.TrimSpace(in(t, example, "python3", "build.py", "environment")), "bin", "python")
}

func TestTheLibraryForPythonPassesItsTests(t *testing.T) {
	out := in(t, filepath.Join(root(t), "plugins", "python"), python(t), "-m", "unittest", "discover", "-s", "tests", "-v")
	require.Contains(t, out, "\nOK\n")
}

func TestTheMessagesForPythonAreThoseOfTheContract(t *testing.T) {
	interpreter := python(t)
	for name, file := range map[string]protoreflect.FileDescriptor{
		"auth": pluginv1.File_lmqgate_plugin_v1_auth_proto, "meta": pluginv1.File_lmqgate_plugin_v1_meta_proto,
		"plugin": pluginv1.File_lmqgate_plugin_v1_plugin_proto,
	} {
		out := in(t, filepath.Join(root(t), "plugins", "python"), interpreter, "-c",
			"from lmqgate.plugin.v1 import "+name+"_pb2 as m; print(m.DESCRIPTOR.serialized_pb.hex())")
		raw, err := hex.DecodeString(strings.TrimSpace(out))
		require.NoError(t, err)
		var theirs descriptorpb.FileDescriptorProto
		require.NoError(t, proto.Unmarshal(raw, &theirs))
		ours := protodesc.ToFileDescriptorProto(file)
		forgetJSONNames(ours.GetMessageType())
		forgetJSONNames(theirs.GetMessageType())
		require.True(t, proto.Equal(ours, &theirs), "%s.proto has changed; run make proto", name)
	}
}

// forgetJSONNames clears derived JSON names, because generators differ in whether they write them.
func forgetJSONNames(messages []*descriptorpb.DescriptorProto) {
	for _, m := range messages {
		for _, f := range m.GetField() {
			f.JsonName = nil
		}
		forgetJSONNames(m.GetNestedType())
	}
}
