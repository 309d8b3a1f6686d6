/// A queue that a thread waits on.
package final class Mailbox<Message: Sendable>: Sendable {
  private let state = Monitor<(messages: [Message], isClosed: Bool)>(([], false))

  /// An empty queue.
  package init() {}

  /// Puts a message behind the others and wakes the waiting thread. False once the queue is closed.
  @discardableResult
  package func post(_ message: Message) -> Bool {
    state.update { state in
      guard !state.isClosed else { return (false, wakesOne: false) }
      state.messages.append(message)
      return (true, wakesOne: true)
    }
  }

  /// Takes no more messages; those that are there can still be collected.
  package func close() { state.change { $0.isClosed = true } }

  /// Waits for messages, at most `timeout` seconds if given, and takes all that are there: none when the time is over.
  /// nil once the queue is closed and empty.
  package func collect(timeout: Double? = nil) -> [Message]? {
    func take(_ state: inout (messages: [Message], isClosed: Bool)) -> [Message]?? {
      if state.messages.isEmpty { return state.isClosed ? .some(nil) : nil }
      defer { state.messages.removeAll(keepingCapacity: state.messages.count < 1024) }
      return state.messages
    }
    guard let timeout else { return state.wait(take) }
    return state.wait(until: .now.advanced(by: timeout), take) ?? []
  }
}
