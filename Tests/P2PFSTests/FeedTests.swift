import Rig
import Testing

@testable import P2PFS

/// What comes one after the other, to readers that come and go.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct FeedTests {
  @Test func `a reader that is cancelled takes nothing with it, and the others go on`() async {
    let queue = Queue<Int>(limit: 4)
    let readers = (0..<3).map { _ in Task { await queue.next() } }
    try? await Task.sleep(for: .milliseconds(50))
    readers[1].cancel()
    #expect(await readers[1].value == nil)
    for number in 1...3 { queue.put(number) }
    let (first, second) = (await readers[0].value, await readers[2].value)
    #expect(Set([first, second]) == [1, 2])
    let late = Task {
      while !Task.isCancelled { await Task.yield() }
      return await queue.next()
    }
    late.cancel()
    #expect(await late.value == nil)
    #expect(await queue.next() == 3)
  }

  @Test func `of what nobody takes the oldest goes, and the rest can be had after the end`() async {
    let queue = Queue<Int>(limit: 4)
    for number in 1...6 { #expect(queue.put(number) == .waiting) }
    #expect(queue.remove { $0 == 4 } == [4])
    queue.finish()
    #expect(queue.put(7) == .over && queue.isOver)
    var heard: [Int] = []
    while let number = await queue.next() { heard.append(number) }
    #expect(heard == [3, 5, 6])
  }

  @Test func `each reader begins with how it stands, and hears each change once`() async {
    let standing = ObservedValue(0)
    let first = standing.follow()
    standing.change(to: 1)
    standing.change(to: 1)
    let second = standing.follow()
    standing.tell(7)
    standing.change(to: 2)
    standing.finish()
    #expect(standing.now == 2)
    for (queue, expected) in [(first, [0, 1, 7, 2]), (second, [1, 7, 2]), (standing.follow(), [2])] {
      var heard: [Int] = []
      while let number = await queue.next() { heard.append(number) }
      #expect(heard == expected)
    }
  }
}
