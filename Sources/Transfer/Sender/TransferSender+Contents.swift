import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage
import P2PFSWire

/// Sends the contents of one file, on the sending thread.
extension TransferSender {
  /// The outcome for one file.
  enum Outcome {
    case ended(ContentHash)
    case failed(String)
    /// The receiver has given up on it.
    case refused
  }

  private static let changed = "it has changed while it was sent"

  /// Hashes a file.
  func check(_ number: UInt64, _ place: TransferSource.Place) throws(TransferFailure) -> Outcome {
    do throws(Errno) {
      let file = try source.open(place)
      let digest = Digest()
      guard try source.isAnnounced(file, place),
        try FileContents.hash(file.rawValue, upTo: place.attributes.size, into: digest, while: { isWanted }),
        try source.isUnchanged(file, place)
      else { return .failed(Self.changed) }
      return .ended(digest.hash)
    } catch {
      // Not an error of the file: the transfer has ended.
      if error == .canceled { throw end }
      return .failed("\(error)")
    }
  }

  /// Sends a file from the offset of the receiver if the data before it is the same here, otherwise from the start.
  func contents(
    _ number: UInt64, _ place: TransferSource.Place, have: Int64, hash: ContentHash?
  ) throws(TransferFailure) -> Outcome {
    do {
      let file = try source.open(place)
      let size = place.attributes.size
      guard try source.isAnnounced(file, place) else { return .failed(Self.changed) }
      var digest = Digest()
      var offset: Int64 = 0
      if have > 0, let hash {
        guard try FileContents.hash(file.rawValue, upTo: have, into: digest, while: { isWanted }) else {
          return .failed(Self.changed)
        }
        if digest.hash == hash { offset = have } else { digest = Digest() }
      }
      try say(.begin(number: number, offset: offset))
      progress.find(offset)
      progress.turn(to: place.path.bytes)
      while offset < size {
        guard !isRefused(number) else { return .refused }
        let piece = TransferMessage.contents(capacity: Int(min(size - offset, Int64(Limits.Transfer.piece))))
        let count = try FileContents.read(file.rawValue, into: piece.spare, at: offset)
        guard count > 0 else { return .failed(Self.changed) }
        digest.update(UnsafeRawBufferPointer(rebasing: piece.spare[..<count]))
        piece.count += count
        try send(piece)
        offset += Int64(count)
        progress.move(count)
      }
      // The data that was sent is the file only if no process has written to it meanwhile.
      guard try source.isUnchanged(file, place) else { return .failed(Self.changed) }
      return .ended(digest.hash)
    } catch Errno.canceled {
      throw end
    } catch let error as Errno {
      return .failed("\(error)")
    } catch let failure as TransferFailure {
      throw failure
    } catch {
      throw .local("\(error)")
    }
  }
}
