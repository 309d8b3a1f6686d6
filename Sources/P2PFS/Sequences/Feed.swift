/// What comes one after the other: `Host.peers`, `Peer.channels`, and how these stand.
///
/// A feed, and each iterator of it, keeps what it belongs to. A task that is cancelled while it waits gets nil; other
/// iterators go on.
public struct Feed<Element: Sendable>: AsyncSequence, Sendable {
  private let begin: @Sendable () -> @Sendable () async -> Element?

  /// `begin` makes what an iterator asks for the next element.
  init(_ begin: @escaping @Sendable () -> @Sendable () async -> Element?) { self.begin = begin }

  /// See `Feed`.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let ask: @Sendable () async -> Element?

    /// The next one; nil when there will be none, or the task was cancelled.
    public mutating func next() async -> Element? { await ask() }

    /// As `next()`.
    public mutating func next(isolation actor: isolated (any Actor)?) async -> Element? { await ask() }
  }

  /// Starts to iterate.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(ask: begin()) }
}

extension Feed where Element: Equatable {
  /// How something stands that belongs to `owner`.
  init(_ standing: ObservedValue<Element>, of owner: any AnyObject & Sendable) {
    self.init {
      let queue = standing.follow()
      return {
        defer { withExtendedLifetime(owner) {} }
        return await queue.next()
      }
    }
  }
}
