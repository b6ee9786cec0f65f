// Signature key pairs as RFC 9420 §5.1.1 wants them: ts-mls makes compressed points for
// the NIST curves, the RFC asks for uncompressed ones. Only key generation is replaced;
// ts-mls itself signs and verifies.
import { p256, p384, p521 } from "@noble/curves/nist.js"

const curves = { 2: p256, 5: p521, 7: p384 }

/** Makes a signature key pair for the suite with RFC number id (0 to 7) or any other. */
export async function signatureKeys(id, impl) {
  const curve = curves[id]
  if (curve === undefined) return impl.signature.keygen()
  const signKey = curve.utils.randomSecretKey()
  return { signKey, publicKey: curve.getPublicKey(signKey, false) }
}
