import P2PFSCore
package import P2PFSPairing

/// What an export remembers from one run to the next, claimed by this process: of several exports of one folder at the
/// same time one has it.
///
/// Hold it until everything that the next run takes over is given back, the port of a signaling server of its own among
/// it; the next one waits for that for `Limits.Session.succession`.
package final class ExportMemory: Sendable {
  /// Where it lies.
  let path: String
  /// What the run before has left; nil if there was none.
  let remembered: SavedExport?
  private let claim: StateDirectory.Claim

  /// Claims what is remembered of an export.
  /// - Parameters:
  ///   - key: what it is remembered under: the absolute path of the shared directory, or what stands for it.
  ///   - patience: seconds in which the export before it may end. Blocks so long.
  /// - Returns: nil if another export has it, or there is no place for it.
  package convenience init?(of key: String, patience: Double = Limits.Session.succession) {
    guard let path = SavedExport.path(for: key) else { return nil }
    self.init(at: path, patience: patience)
  }

  /// As above, at a path in the state directory.
  init?(at path: String, patience: Double) {
    guard let claim = StateDirectory.claim(path, patience: patience) else { return nil }
    self.path = path
    self.claim = claim
    // Only now: the export before may have written it last when it ended.
    remembered = StateDirectory.read(path).flatMap(SavedExport.init(parsing:))
  }

  /// The code of the export that has it now, whoever asks; nil if there is none.
  package static func code(of key: String) -> Code? {
    SavedExport.path(for: key).flatMap(StateDirectory.read).flatMap(SavedExport.init(parsing:)).flatMap {
      try? Code(parsing: $0.code)
    }
  }

  /// The port that the export's own signaling server had last time; nil if there was none.
  package var port: UInt16? { remembered?.port.flatMap(UInt16.init(exactly:)) }
}
