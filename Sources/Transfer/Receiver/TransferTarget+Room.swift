import P2PFSCore
import P2PFSExport
import SystemPackage
import P2PFSWire

/// Whether an offer fits on the disk.
extension TransferTarget {
  /// nil if `offer` fits on the disk, as far as that is known beforehand; otherwise the text for the user. It examines
  /// existing files, so call it only for an offer that the user has accepted.
  func shortage(for offer: TransferMessage.Offer, while isWanted: () -> Bool) -> String? {
    guard let statistics = try? directory.statistics(at: .root) else { return nil }
    let free = statistics.availableBlocks.multipliedReportingOverflow(by: statistics.fragmentSize)
    guard !free.overflow, free.partialValue < UInt64(offer.bytes) else { return nil }
    // Some of the files may be there already; those that are not named are unknown.
    guard offer.tops == UInt64(offer.names.count) else { return nil }
    guard let present = bytesPresent(of: offer.names, while: isWanted) else { return nil }
    guard present < UInt64(offer.bytes) - free.partialValue else { return nil }
    return "not enough space: \(offer.bytes) bytes are offered, \(free.partialValue) are free"
  }

  /// Bytes of the files below these names; nil if there are too many to examine.
  private func bytesPresent(of names: [[UInt8]], while isWanted: () -> Bool) -> UInt64? {
    var bytes: UInt64 = 0
    var seen = 0
    var open = names.flatMap { name -> [Path] in
      guard let path = try? Path(name) else { return [] }
      return [path] + ((try? PartName.path(for: path)).map { [$0] } ?? [])
    }
    while let path = open.popLast() {
      seen += 1
      guard seen <= Limits.Transfer.lookedAt, isWanted() else { return nil }
      guard let attributes = try? directory.attributes(at: path) else { continue }
      switch attributes.type {
      case .regular:
        // The space on disk: a hole needs none.
        let (sum, overflow) = bytes.addingReportingOverflow(min(attributes.blocks &* 512, UInt64(attributes.size)))
        guard !overflow else { return nil }
        bytes = sum
      case .directory:
        guard let names = try? directory.names(in: path, limit: Limits.Transfer.lookedAt) else { continue }
        open += names.compactMap { try? path.appending($0) }
      default: break
      }
    }
    return bytes
  }
}
