package schemas

import (
	"fmt"
	"sync"
)

// ID returns the code as people write it: "E022".
func (c Code) ID() string { return fmt.Sprintf("E%03d", uint16(c)) }

// CodeDoc is one row of the code table in plain Go.
type CodeDoc struct {
	Code    Code
	Name    string // CHANNEL_NOT_FOUND
	Retry   Retry
	Meaning string
	Hint    string
}

// Codes returns every row of the code table, in order of number.
func Codes() []CodeDoc { return append([]CodeDoc(nil), codeDocs()...) }

// codeDocs reads the compiled-in table once: a Cap'n Proto message may be
// traversed a bounded number of times only.
var codeDocs = sync.OnceValue(func() []CodeDoc {
	docs := make([]CodeDoc, CodeTable.Len())
	for i := range docs {
		docs[i] = codeDoc(CodeTable.At(i))
	}
	return docs
})

// Doc returns the row of a code. A number that this build doesn't know, sent by
// a newer server, gets a row that says so and is not retried.
func (c Code) Doc() CodeDoc {
	if docs := codeDocs(); int(c) < len(docs) {
		return docs[c]
	}
	return CodeDoc{
		Code: c, Name: "UNKNOWN_CODE", Retry: Retry_never,
		Meaning: "The server answered with a code that this version does not know.",
		Hint:    "Update this program.",
	}
}

func codeDoc(info CodeInfo) CodeDoc {
	return CodeDoc{
		Code: info.Code(), Retry: info.Retry(),
		Name: tableText(info.Name()), Meaning: tableText(info.Meaning()), Hint: tableText(info.Hint()),
	}
}

// tableText unwraps a text of the compiled-in table, which can't be broken.
func tableText(text string, err error) string {
	if err != nil {
		panic(fmt.Sprintf("the compiled-in code table is unreadable: %v", err))
	}
	return text
}
