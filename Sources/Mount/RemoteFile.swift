import P2PFSWire

/// Which file of the peer a node is. The type is part of it, so that a peer that lies about an identity cannot turn a
/// file into a directory under the kernel's hands.
struct RemoteFile: Hashable, Sendable {
  let identity: FileIdentity
  let type: FileType

  init(_ attributes: Attributes) {
    identity = attributes.identity
    type = attributes.type
  }
}
