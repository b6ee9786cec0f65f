@0xd12a1c51fedd6c88;
# The two annotations that Go's code generator reads (capnproto.org/go/capnp/v3). They say
# nothing about the bytes; they are here so that these schemas compile with capnp alone,
# for any language. The identifiers are that package's.

annotation package(file) :Text;
# The Go package of the generated code.

annotation import(file) :Text;
# Its import path.
