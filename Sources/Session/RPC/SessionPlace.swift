/// The session that a responder is made for, and where its memory may lie.
package struct SessionPlace: Sendable {
  /// The session's name, 16 bytes.
  package let identity: [UInt8]
  /// The path of a journal, in a directory that is the user's alone, so that what the guest has open goes on when the
  /// export is started again; nil: the export is not remembered.
  package let journal: String?

  /// A place of the given values.
  package init(identity: [UInt8], journal: String?) {
    self.identity = identity
    self.journal = journal
  }
}
