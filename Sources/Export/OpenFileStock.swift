import P2PFSCore
import Synchronization

/// How many files and listings one session may have open.
struct OpenFileAllowance: Equatable {
  /// Those that no other session can take.
  let own: Int
  /// All, those out of the common stock included.
  let most: Int

  /// What a process that may open `limit` files gives to each session: half is divided among all sessions there can be,
  /// and of the other half, which is for those who need more, one session gets a half at most. So one mount can hold a
  /// quarter of all, and still leaves something to everybody.
  init(limit: Int) {
    let all = max(limit - Limits.Export.reservedDescriptors, 0)
    own = max(min(all / 2 / Limits.Session.guests, Limits.Export.ownOpenFiles), 8)
    most = min(own + OpenFileAllowance.stock(limit: limit) / 2, Limits.Export.openFiles)
  }

  /// The common stock of all sessions.
  static func stock(limit: Int) -> Int {
    min(max(limit - Limits.Export.reservedDescriptors, 0) / 2, Limits.Export.sharedOpenFiles)
  }
}

/// The open files that the sessions of one share take beyond their own.
final class OpenFileStock: Sendable {
  private let left: Mutex<Int>
  private let all: Int

  init(_ count: Int) {
    all = count
    left = Mutex(count)
  }

  /// Whether fewer than an eighth are left.
  var isShort: Bool { left.withLock { $0 < all / 8 } }

  /// Takes one; false if there is none.
  func take() -> Bool {
    left.withLock { left in
      guard left > 0 else { return false }
      left -= 1
      return true
    }
  }

  func give(_ count: Int) { left.withLock { $0 += count } }
}
