// Package nodeaddr reads and writes the addresses of nodes as people write them down,
// and says how the nodes of some addresses prove themselves: what the server prints
// (qpqd pin) and a client takes (qpq --server).
package nodeaddr

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"quicproquo/crypto/tlsid"
)

// Address is a node as people write it down: HOST:PORT, or
// qpq://HOST:PORT?pin=sha256:HEX with the fingerprint of the cluster's
// certificate authority.
type Address struct {
	Endpoint string // HOST:PORT
	Pin      *[sha256.Size]byte
}

// addressScheme is that of addresses; pinPrefix names the hash of a pin.
const (
	addressScheme = "qpq"
	pinPrefix     = "sha256:"
)

// String is the address as Parse takes it.
func (a Address) String() string {
	text := addressScheme + "://" + a.Endpoint
	if a.Pin != nil {
		text += "?pin=" + pinPrefix + hex.EncodeToString(a.Pin[:])
	}
	return text
}

// Parse reads an address. What is not understood is refused: a misspelt pin
// must not become no pin.
func Parse(text string) (Address, error) {
	rest, ok := strings.CutPrefix(text, addressScheme+"://")
	if !ok {
		if strings.Contains(text, "://") || strings.ContainsAny(text, "?/#@") {
			return Address{}, fmt.Errorf("address %q is neither HOST:PORT nor qpq://HOST:PORT?pin=sha256:…", text)
		}
		rest = text
	}
	endpoint, query, _ := strings.Cut(rest, "?")
	a := Address{Endpoint: strings.TrimSuffix(endpoint, "/")}
	if err := CheckEndpoint(a.Endpoint); err != nil {
		return Address{}, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", text, err)
	}
	for name, list := range values {
		if name != "pin" || len(list) != 1 {
			return Address{}, fmt.Errorf("address %q: %q is not one pin", text, name)
		}
		if a.Pin, err = parsePin(list[0]); err != nil {
			return Address{}, fmt.Errorf("address %q: %w", text, err)
		}
	}
	return a, nil
}

// ParseList reads an address line, which names one node or, divided by commas,
// several of one cluster: qpq://HOST:PORT,HOST:PORT?pin=sha256:HEX.
func ParseList(text string) ([]Address, error) {
	rest, query, hasQuery := strings.Cut(text, "?")
	scheme := ""
	if trimmed, ok := strings.CutPrefix(rest, addressScheme+"://"); ok {
		scheme, rest = addressScheme+"://", trimmed
	}
	var list []Address
	for _, endpoint := range strings.Split(strings.TrimSuffix(rest, "/"), ",") {
		one := scheme + endpoint
		if hasQuery {
			one += "?" + query
		}
		a, err := Parse(one)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// Format returns the address line of a cluster's nodes, as ParseList takes
// it. The pin is the first one's.
func Format(list []Address) string {
	if len(list) == 0 {
		return ""
	}
	return Address{Endpoint: strings.Join(Endpoints(list), ","), Pin: list[0].Pin}.String()
}

func parsePin(text string) (*[sha256.Size]byte, error) {
	digits, ok := strings.CutPrefix(text, pinPrefix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("a pin is %s and %d hexadecimal digits", pinPrefix, 2*sha256.Size)
	}
	return (*[sha256.Size]byte)(raw), nil
}

// CheckEndpoint refuses what is not HOST:PORT.
func CheckEndpoint(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == "" || port == "") {
		err = errors.New("host or port is missing")
	}
	if err != nil {
		return fmt.Errorf("endpoint %q is not HOST:PORT: %w", address, err)
	}
	return nil
}

// Trust says how the nodes of some addresses prove themselves. A pin in any of
// them is asked of all: they are nodes of one cluster. Without pins authorities
// counts, the PEM bundle of a cluster's CA (tls/ca.pem in a node's directory) or of
// another authority; without that, the certificate authorities of the system.
func Trust(addresses []Address, authorities []byte, now func() time.Time) (*tls.Config, error) {
	var pins [][sha256.Size]byte
	for _, a := range addresses {
		if a.Pin != nil && !slices.Contains(pins, *a.Pin) {
			pins = append(pins, *a.Pin)
		}
	}
	switch {
	case len(pins) > 1:
		return nil, errors.New("the addresses have different pins: they are not of one cluster")
	case len(pins) == 1:
		return tlsid.PinnedDialConfig(pins[0], now), nil
	case len(authorities) > 0:
		return tlsid.ClientDialConfig(authorities, now)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Time: now}, nil
}

// Endpoints returns the HOST:PORT of each address.
func Endpoints(addresses []Address) []string {
	list := make([]string, len(addresses))
	for i, a := range addresses {
		list[i] = a.Endpoint
	}
	return list
}
