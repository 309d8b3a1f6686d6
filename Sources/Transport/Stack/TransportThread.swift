import CP2PFSNice
import Glibc
import P2PFSCore
import Synchronization

/// An object that sends datagrams at the end of a turn of the transport thread.
protocol EndOfTurn: AnyObject {
  /// Sends the datagrams collected in the turn. On the transport thread.
  func endTurn()
}

/// The one thread that runs libnice, DTLS and SCTP, and the actors that control them.
///
/// There is exactly one, because usrsctp has one state for the process. It owns a GMainContext, to which libnice attaches
/// its sources. A turn of its loop is: wait for GLib's sources and dispatch them, run the work that other threads have
/// enqueued, then let every connection that was active in the turn send its datagrams as one batch. It never blocks
/// elsewhere.
package final class TransportThread: SerialExecutor, @unchecked Sendable {
  // @unchecked: `dirty` belongs to the transport thread; `context` is GLib's and thread-safe.

  /// The thread. It starts at first use and runs as long as the process.
  package static let shared = TransportThread()

  private enum Work: @unchecked Sendable {  // jobs and closures are passed to the thread once
    case job(UnownedJob)
    case block(@Sendable () -> Void)
  }

  /// GLib's context; sources may be attached from any thread.
  let context: OpaquePointer
  private let pending = Mutex<[Work]>([])
  private var dirty: [any EndOfTurn] = []
  /// The thread's pthread_t; 0 until it runs.
  private let thread = Atomic<UInt>(0)

  private init() {
    context = g_main_context_new()
    Worker.detached("transport") { self.loop() }
  }

  /// Whether the caller runs on the transport thread.
  package var isCurrent: Bool { thread.load(ordering: .relaxed) == pthread_self() }

  /// Runs `work` on the transport thread after what was enqueued before. From any thread; never blocks.
  package func enqueue(_ work: @escaping @Sendable () -> Void) { add(.block(work)) }

  /// Runs a job of an actor. Called by the Swift runtime.
  package func enqueue(_ job: consuming ExecutorJob) { add(.job(UnownedJob(job))) }

  /// The executor, for actors.
  package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

  /// Lets the Swift runtime verify isolation.
  package func checkIsolated() { precondition(isCurrent, "not on the transport thread") }

  /// Calls `owner.endTurn` at the end of the current turn. On the transport thread, at most once a turn for each owner.
  func atEndOfTurn(_ owner: any EndOfTurn) { dirty.append(owner) }

  private func add(_ work: Work) {
    let first = pending.withLock { queue in
      queue.append(work)
      return queue.count == 1
    }
    // One wake-up (GLib writes to an eventfd) when the queue becomes non-empty; the thread itself checks before it waits.
    if first, !isCurrent { g_main_context_wakeup(context) }
  }

  private func loop() {
    thread.store(pthread_self(), ordering: .relaxed)
    g_main_context_push_thread_default(context)
    var batch: [Work] = []
    while true {
      let idle = pending.withLock { $0.isEmpty }
      g_main_context_iteration(context, idle ? 1 : 0)
      pending.withLock { swap(&$0, &batch) }
      for work in batch {
        switch work {
        case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
        case .block(let block): block()
        }
      }
      batch.removeAll(keepingCapacity: true)
      endTurn()
    }
  }

  /// Calls everyone registered by `atEndOfTurn`, also those that are registered meanwhile.
  func endTurn() {
    var index = 0
    while index < dirty.count {
      dirty[index].endTurn()
      index += 1
    }
    dirty.removeAll(keepingCapacity: true)
  }
}
