package handshake_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// frozen reads the frozen descriptor set of a version of the contract.
func frozen(t *testing.T, version int) *descriptorpb.FileDescriptorSet {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("../../proto/frozen/v%d.binpb", version))
	require.NoError(t, err)
	set := &descriptorpb.FileDescriptorSet{}
	require.NoError(t, proto.Unmarshal(text, set))
	require.Len(t, set.GetFile(), 3)
	return set
}

// missing lists what an old contract has and today's lacks or encodes differently: everything old must stay compatible on the wire.
func missing(old *protoregistry.Files, today interface {
	FindDescriptorByName(protoreflect.FullName) (protoreflect.Descriptor, error)
}) (lacks []string) {
	lack := func(what protoreflect.FullName, why string) { lacks = append(lacks, fmt.Sprintf("%s %s", what, why)) }
	var messages func(protoreflect.MessageDescriptors)
	enums := func(list protoreflect.EnumDescriptors) {
		for i := range list.Len() {
			old := list.Get(i)
			now, _ := today.FindDescriptorByName(old.FullName())
			for j := range old.Values().Len() {
				v := old.Values().Get(j)
				e, ok := now.(protoreflect.EnumDescriptor)
				if !ok || e.Values().ByNumber(v.Number()) == nil || e.Values().ByNumber(v.Number()).Name() != v.Name() {
					lack(v.FullName(), "is gone or another")
				}
			}
		}
	}
	messages = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			old := list.Get(i)
			messages(old.Messages())
			enums(old.Enums())
			now, _ := today.FindDescriptorByName(old.FullName())
			m, ok := now.(protoreflect.MessageDescriptor)
			if !ok {
				lack(old.FullName(), "is gone")
				continue
			}
			for j := range old.Fields().Len() {
				f := old.Fields().Get(j)
				g := m.Fields().ByNumber(f.Number())
				if g == nil || g.Name() != f.Name() || g.Kind() != f.Kind() || g.Cardinality() != f.Cardinality() ||
					typeOf(g) != typeOf(f) {
					lack(f.FullName(), "is gone or another")
				}
			}
		}
	}
	old.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		messages(file.Messages())
		enums(file.Enums())
		for i := range file.Services().Len() {
			old := file.Services().Get(i)
			now, _ := today.FindDescriptorByName(old.FullName())
			for j := range old.Methods().Len() {
				m := old.Methods().Get(j)
				s, ok := now.(protoreflect.ServiceDescriptor)
				if !ok || s.Methods().ByName(m.Name()) == nil {
					lack(m.FullName(), "is gone")
					continue
				}
				n := s.Methods().ByName(m.Name())
				if n.Input().FullName() != m.Input().FullName() || n.Output().FullName() != m.Output().FullName() ||
					n.IsStreamingClient() != m.IsStreamingClient() || n.IsStreamingServer() != m.IsStreamingServer() {
					lack(m.FullName(), "is another")
				}
			}
		}
		return true
	})
	return lacks
}

// typeOf returns the name of the message or enum that a field holds, or "".
func typeOf(f protoreflect.FieldDescriptor) protoreflect.FullName {
	switch {
	case f.Message() != nil:
		return f.Message().FullName()
	case f.Enum() != nil:
		return f.Enum().FullName()
	}
	return ""
}

func TestTodaysContractHasAllThatWasFrozen(t *testing.T) {
	for _, version := range handshake.Versions() {
		old, err := protodesc.NewFiles(frozen(t, version))
		require.NoError(t, err)
		require.Empty(t, missing(old, protoregistry.GlobalFiles), "version %d of the contract; see plugins/proto/COMPATIBILITY.md", version)
	}
}

func TestWhatIsTakenOutOfTheContractIsFound(t *testing.T) {
	for name, change := range map[string]func(*descriptorpb.FileDescriptorSet){
		"lmqgate.plugin.v1.AuthenticateRequest.password is gone or another": func(s *descriptorpb.FileDescriptorSet) {
			m := message(t, s, "AuthenticateRequest")
			m.Field = m.GetField()[:2]
		},
		"lmqgate.plugin.v1.Decision.cache_ms is gone or another": func(s *descriptorpb.FileDescriptorSet) {
			message(t, s, "Decision").GetField()[1].Number = proto.Int32(9)
		},
		"lmqgate.plugin.v1.Entry.value is gone or another": func(s *descriptorpb.FileDescriptorSet) {
			message(t, s, "Entry").GetField()[2].Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
		},
		"lmqgate.plugin.v1.Meta.Watch is gone": func(s *descriptorpb.FileDescriptorSet) {
			for _, file := range s.GetFile() {
				for _, service := range file.GetService() {
					if service.GetName() == "Meta" {
						service.Method = service.GetMethod()[:5]
					}
				}
			}
		},
	} {
		old, err := protodesc.NewFiles(frozen(t, 1))
		require.NoError(t, err)
		set := frozen(t, 1)
		change(set)
		changed, err := protodesc.NewFiles(set)
		require.NoError(t, err)
		require.Equal(t, []string{name}, missing(old, changed))
	}
}

func message(t *testing.T, set *descriptorpb.FileDescriptorSet, name string) *descriptorpb.DescriptorProto {
	t.Helper()
	for _, file := range set.GetFile() {
		for _, m := range file.GetMessageType() {
			if m.GetName() == name {
				return m
			}
		}
	}
	t.Fatalf("there is no message %s", name)
	return nil
}
