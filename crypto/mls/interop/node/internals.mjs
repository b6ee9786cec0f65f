// Loads modules of a ts-mls package that its export map hides. Used only where the public
// interface has no call for something the protocol needs.

/** Imports the module name (a path below dist/src) of package pkg. */
export async function internal(pkg, name) {
  return import(new URL(name, import.meta.resolve(pkg)).href)
}

/** The same GroupInfo with its external_pub encoded by fix. */
export function withExternalPub(info, type, fix) {
  const extensions = info.extensions.map((e) =>
    e.extensionType === type ? { ...e, extensionData: fix(e.extensionData) } : e,
  )
  return { ...info, extensions }
}

/**
 * The same GroupInfo whose extensions, when searched, show external_pub decoded by fix but
 * are encoded as they came, so that the signature still verifies.
 */
export function showingExternalPub(info, type, fix) {
  const extensions = [...info.extensions]
  extensions.find = (wanted) => {
    const found = Array.prototype.find.call(extensions, wanted)
    return found?.extensionType === type ? { ...found, extensionData: fix(found.extensionData) } : found
  }
  return { ...info, extensions }
}
