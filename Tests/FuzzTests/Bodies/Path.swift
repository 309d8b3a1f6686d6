import P2PFSCore
import P2PFSWire

/// Paths from the peer: what passes the check must be harmless, component by component.
func fuzzPath(_ input: UnsafeBufferPointer<UInt8>) {
  guard let path = try? Path(input) else { return }
  for component in path.components {
    precondition(!component.isEmpty && component.count <= Limits.Wire.name && !component.contains(0))
    precondition(!component.elementsEqual(".".utf8) && !component.elementsEqual("..".utf8))
  }
  precondition(path.components.joined(separator: "/".utf8).elementsEqual(path.bytes))
  if let (parent, name) = path.parentAndName {
    precondition((try? parent.appending(name)) == path, "the parent's entry is another")
  }
}
