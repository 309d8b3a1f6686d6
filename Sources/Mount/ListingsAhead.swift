import P2PFSCore
import DequeModule
import P2PFSWire

/// What a walk through a tree is going to want: directories in the listings that it has read, of which the next
/// few are listed ahead.
///
/// ```
///  expect           next, begin                     used
/// ────────▶ noted ──────────────▶ listed ahead ──────────────▶ (opened)
///             ▲                        │ not opened in time
///             └────────────────────────┘
/// ```
/// The window, how many may be listed and not opened, grows with each that was opened in time, and shrinks when much
/// was listed in vain: a slow walk, as that of `cp -r` through large files, may come back to a directory only when
/// its listing is too old. A little is listed again and again, because no one knows the order of a walk.
/// A value without I/O.
struct ListingsAhead {
  /// A directory in a listing.
  struct Candidate {
    /// The node ID of the directory it is in.
    let parent: UInt64
    let name: [UInt8]
    /// What the listing said, and when that was asked for.
    let attributes: Attributes
    let asked: Instant
  }

  private struct Listed {
    let node: UInt64
    let candidate: Candidate
    let asked: Instant
    var entries = 0
  }

  private var noted = Deque<Candidate>()
  /// Oldest first.
  private var listed = Deque<Listed>()
  private var lastOpened = Instant(nanoseconds: 0)
  /// How many may be listed and not opened.
  private(set) var window = Limits.Mount.listingsAhead

  init() {}

  /// How many are noted, and how many listed and not opened.
  var counts: (noted: Int, listed: Int) { (noted.count, listed.count) }

  /// Notes directories, in their order, as what is wanted before all that was noted until now: a walk goes down
  /// before it goes on.
  mutating func expect(_ candidates: [Candidate]) {
    noted.prepend(contentsOf: candidates.prefix(Limits.Mount.expectedDirectories))
    if noted.count > Limits.Mount.expectedDirectories {
      noted.removeLast(noted.count - Limits.Mount.expectedDirectories)
    }
  }

  /// Takes the next directory to list, if the window has room.
  mutating func next() -> Candidate? {
    listed.count < window ? noted.popFirst() : nil
  }

  /// `candidate` is listed from now on, as the node `node`.
  mutating func begin(_ candidate: Candidate, as node: UInt64, at now: Instant) {
    listed.append(Listed(node: node, candidate: candidate, asked: now))
  }

  /// The listing of `node` has come, with so many entries.
  mutating func received(_ node: UInt64, entries: Int) {
    if let index = listed.firstIndex(where: { $0.node == node }) { listed[index].entries = entries }
  }

  /// A walk opens the directory `node`. What was listed more than `validity` seconds ago and not opened is noted
  /// again; and if nothing was opened for that long, everything is forgotten.
  /// - Returns: the nodes that are not listed ahead any more, but for `node`.
  mutating func opened(_ node: UInt64, at now: Instant, validity: Double) -> [UInt64] {
    let isOver = now.seconds(since: lastOpened) > validity
    lastOpened = now
    if let index = listed.firstIndex(where: { $0.node == node }) {
      listed.remove(at: index)
      window = min(window + 1, Limits.Mount.mostListingsAhead)
    }
    var late: [Listed] = []
    while let first = listed.first, isOver || now.seconds(since: first.asked) > validity {
      listed.removeFirst()
      late.append(first)
    }
    if isOver {
      noted = []
      window = Limits.Mount.listingsAhead
    } else if !late.isEmpty {
      if late.reduce(0, { $0 + $1.entries }) > Limits.Mount.entriesInVain {
        window = max(window / 2, Limits.Mount.leastListingsAhead)
      }
      expect(late.map(\.candidate))
    }
    return late.map(\.node)
  }
}
