import Rig
import Testing

@testable import P2PFSMount

@Suite(.onThreads) struct WriteQueueTests {
  @Test func `pieces leave in order as far as the credit goes`() {
    var queue = WriteQueue<String, Int>()
    queue.add("a", at: .range(0..<10), bytes: 10)
    queue.add("b", at: .range(10..<20), bytes: 10)
    let result1 = queue.next(credit: 10)
    #expect(result1?.payload == "a")
    let result2 = queue.next(credit: 5)
    #expect(result2 == nil)
    #expect(!queue.isBlocked)
    let result3 = queue.next(credit: 10)
    #expect(result3?.payload == "b")
    #expect(queue.end == 20)
    #expect(queue.bytes == 20)
  }

  @Test func `overlapping pieces wait for each other`() {
    var queue = WriteQueue<String, Int>()
    queue.add("a", at: .range(0..<10), bytes: 10)
    queue.add("b", at: .range(5..<15), bytes: 10)
    queue.add("c", at: .range(100..<110), bytes: 10)
    let first = queue.next(credit: 1000)
    #expect(first?.payload == "a")
    let result4 = queue.next(credit: 1000)
    #expect(result4 == nil)
    #expect(queue.isBlocked)
    _ = queue.done(first?.number ?? 0)
    let result5 = queue.next(credit: 1000)
    #expect(result5?.payload == "b")
    let result6 = queue.next(credit: 1000)
    #expect(result6?.payload == "c")
  }

  @Test func `a barrier waits for what was before it and not for what comes later`() {
    var queue = WriteQueue<String, Int>()
    let result7 = queue.wait(1)
    #expect(result7)
    queue.add("a", at: .range(0..<10), bytes: 10)
    let result8 = queue.wait(2)
    #expect(!result8)
    queue.add("b", at: .range(10..<20), bytes: 10)
    let (first, second) = (queue.next(credit: 100), queue.next(credit: 100))
    let result9 = queue.done(second?.number ?? 0)
    #expect(result9.isEmpty)
    let result10 = queue.done(first?.number ?? 0)
    #expect(result10 == [2])
    #expect(queue.isIdle)
    #expect(queue.end == 0)
  }

  @Test func `what was not sent can be withdrawn`() {
    var queue = WriteQueue<String, Int>()
    queue.add("a", at: .range(0..<10), bytes: 10)
    let result11 = queue.wait(1)
    #expect(!result11)
    let (payloads, barriers) = queue.withdraw { _ in true }
    #expect(payloads == ["a"])
    #expect(barriers == [1])
    #expect(queue.isIdle && queue.bytes == 0)
  }

  @Test func `what goes behind the last write waits until that has left, not until it is done`() {
    var queue = WriteQueue<String, Int>()
    let isSent = queue.waitSent(1)
    #expect(isSent)
    queue.add("a", at: .range(0..<10), bytes: 10)
    let isStillSent = queue.waitSent(2)
    #expect(!isStillSent)
    let none = queue.departed()
    #expect(none.isEmpty)
    let piece = queue.next(credit: 100)
    let passed = queue.departed()
    #expect(passed == [2] && !queue.isIdle)
    _ = queue.done(piece?.number ?? 0)
    #expect(queue.isIdle)
  }

  @Test func `an append waits for writes before it and writes for appends, but not one append for another`() {
    var queue = WriteQueue<String, Int>()
    queue.add("write", at: .range(0..<10), bytes: 10)
    queue.add("append", at: .end, bytes: 1)
    queue.add("other", at: .end, bytes: 1)
    queue.add("late", at: .range(50..<60), bytes: 10)
    let first = queue.next(credit: 100)
    let none = queue.next(credit: 100)
    #expect(first?.payload == "write" && none == nil && queue.isBlocked)
    _ = queue.done(first?.number ?? 0)
    let (second, third, blocked) = (queue.next(credit: 100), queue.next(credit: 100), queue.next(credit: 100))
    #expect(second?.payload == "append" && third?.payload == "other" && blocked == nil)
  }
}
