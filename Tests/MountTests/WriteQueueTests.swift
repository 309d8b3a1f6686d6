import Testing

@testable import Mount

@Suite struct WriteQueueTests {
  @Test func `pieces leave in order as far as the credit goes`() {
    var queue = WriteQueue<String, Int>()
    queue.add("a", range: 0..<10, bytes: 10)
    queue.add("b", range: 10..<20, bytes: 10)
    #expect(queue.next(credit: 10)?.payload == "a")
    #expect(queue.next(credit: 5) == nil)
    #expect(!queue.isBlocked)
    #expect(queue.next(credit: 10)?.payload == "b")
    #expect(queue.end == 20)
    #expect(queue.bytes == 20)
  }

  @Test func `overlapping pieces wait for each other`() {
    var queue = WriteQueue<String, Int>()
    queue.add("a", range: 0..<10, bytes: 10)
    queue.add("b", range: 5..<15, bytes: 10)
    queue.add("c", range: 100..<110, bytes: 10)
    let first = queue.next(credit: 1000)
    #expect(first?.payload == "a")
    #expect(queue.next(credit: 1000) == nil)
    #expect(queue.isBlocked)
    _ = queue.done(first?.number ?? 0)
    #expect(queue.next(credit: 1000)?.payload == "b")
    #expect(queue.next(credit: 1000)?.payload == "c")
  }

  @Test func `a barrier waits for what was before it and not for what comes later`() {
    var queue = WriteQueue<String, Int>()
    #expect(queue.wait(1))
    queue.add("a", range: 0..<10, bytes: 10)
    #expect(!queue.wait(2))
    queue.add("b", range: 10..<20, bytes: 10)
    let (first, second) = (queue.next(credit: 100), queue.next(credit: 100))
    #expect(queue.done(second?.number ?? 0).isEmpty)
    #expect(queue.done(first?.number ?? 0) == [2])
    #expect(queue.isIdle)
    #expect(queue.end == 0)
  }

  @Test func `what was not sent can be withdrawn`() {
    var queue = WriteQueue<String, Int>()
    queue.add("a", range: 0..<10, bytes: 10)
    #expect(!queue.wait(1))
    let (payloads, barriers) = queue.withdraw { _ in true }
    #expect(payloads == ["a"])
    #expect(barriers == [1])
    #expect(queue.isIdle && queue.bytes == 0)
  }
}
