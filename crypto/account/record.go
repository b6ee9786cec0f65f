package account

import (
	"encoding/binary"
	"fmt"

	"github.com/gtank/ristretto255"
)

// A record is what the log stores for one account:
//
//	format (1) ‖ suite (1) ‖ passes (4) ‖ memory KiB (4) ‖ lanes (4) ‖ client public key (32) ‖ masking key (64) ‖ envelope (96)
//
// big-endian, 206 bytes. The last 192 are RFC 9807's RegistrationRecord. Suite
// and Argon2id parameters stand beside it so that a later program, or another
// library, knows what it reads.
const (
	recordFormat = 1
	recordHeader = 1 + 1 + 4 + 4 + 4
	// RecordSize is the length of a record in bytes.
	RecordSize = recordHeader + RegistrationUploadSize
)

// registration is a RegistrationRecord of RFC 9807 §5. Its slices share the
// memory of the record it was read from.
type registration struct {
	publicKey  *ristretto255.Element
	maskingKey []byte
	envelope   []byte
}

// encodeRecord puts the header before an upload that decodeRegistration took.
func encodeRecord(upload []byte) []byte {
	s := currentStretch()
	record := make([]byte, 0, RecordSize)
	record = append(record, recordFormat, byte(SuiteRistretto255))
	record = binary.BigEndian.AppendUint32(record, s.passes)
	record = binary.BigEndian.AppendUint32(record, s.memoryKiB)
	record = binary.BigEndian.AppendUint32(record, s.lanes)
	return append(record, upload...)
}

// decodeRecord reads a stored record. All its errors are [ErrRecord].
func decodeRecord(record []byte) (*registration, error) {
	if len(record) != RecordSize {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrRecord, len(record), RecordSize)
	}
	if record[0] != recordFormat {
		return nil, fmt.Errorf("%w: format %d, this program knows %d: upgrade it", ErrRecord, record[0], recordFormat)
	}
	if Suite(record[1]) != SuiteRistretto255 {
		return nil, fmt.Errorf("%w: suite %d, this program knows %d: upgrade it", ErrRecord, record[1], SuiteRistretto255)
	}
	s := stretch{
		passes:    binary.BigEndian.Uint32(record[2:]),
		memoryKiB: binary.BigEndian.Uint32(record[6:]),
		lanes:     binary.BigEndian.Uint32(record[10:]),
	}
	if s != currentStretch() {
		return nil, fmt.Errorf("%w: argon2id %+v, this program knows %+v: upgrade it", ErrRecord, s, currentStretch())
	}
	r, err := decodeRegistration(record[recordHeader:])
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRecord, err) //nolint:errorlint // the cause is ErrMessage, which is a client's fault and this is not
	}
	return r, nil
}

// decodeRegistration reads an upload of a client. All its errors are [ErrMessage].
func decodeRegistration(upload []byte) (*registration, error) {
	if err := requireSize("registration upload", upload, RegistrationUploadSize); err != nil {
		return nil, err
	}
	publicKey, err := decodeElement(upload[:elementSize])
	if err != nil {
		return nil, fmt.Errorf("read client public key: %w", err)
	}
	maskingKey := upload[elementSize : elementSize+nh]
	if allZero(maskingKey) {
		return nil, fmt.Errorf("%w: the masking key is all zero", ErrMessage)
	}
	return &registration{publicKey: publicKey, maskingKey: maskingKey, envelope: upload[elementSize+nh:]}, nil
}

func requireSize(name string, message []byte, want int) error {
	if len(message) != want {
		return fmt.Errorf("%w: %s has %d bytes, want %d", ErrMessage, name, len(message), want)
	}
	return nil
}

// allZero reads every byte, whatever it finds.
func allZero(b []byte) bool {
	var or byte
	for _, x := range b {
		or |= x
	}
	return or == 0
}
