import Logging
import Testing

@testable import P2PFSForward

/// How many connections there may be.
@Suite struct ConnectionSlotsTests {
  @Test func `listeners wait when all are taken, and all of them look again when one is free`() {
    let slots = ConnectionSlots(2, Logger(label: "test"))
    var full = 0
    slots.onFull = { full += 1 }
    var woken: [String] = []
    #expect(slots.isFree)
    slots.take()
    slots.take()
    #expect(!slots.isFree && slots.used == 2)
    slots.whenFree { woken.append("a") }
    slots.whenFree { woken.append("b") }
    #expect(full == 1 && woken.isEmpty)
    slots.release()
    #expect(woken == ["a", "b"] && slots.isFree)
    // Nobody is called twice.
    slots.release()
    #expect(woken.count == 2)
  }

  @Test func `one more than there are places holds the others until two are gone`() {
    let slots = ConnectionSlots(2, Logger(label: "test"))
    for _ in 0..<3 { slots.take() }
    var woken = 0
    slots.whenFree { woken += 1 }
    slots.release()
    #expect(woken == 0 && !slots.isFree)
    slots.release()
    #expect(woken == 1 && slots.isFree)
  }

  @Test func `that it is full is told once until there is plenty of room again`() {
    let slots = ConnectionSlots(4, Logger(label: "test"))
    var full = 0
    slots.onFull = { full += 1 }
    for _ in 0..<4 { slots.take() }
    for _ in 0..<10 {
      slots.whenFree {}
      slots.release()
      slots.take()
    }
    #expect(full == 1)
    for _ in 0..<2 { slots.release() }
    for _ in 0..<2 { slots.take() }
    slots.whenFree {}
    #expect(full == 2)
  }

  @Test func `who takes the place at once does not call the next in vain for ever`() {
    let slots = ConnectionSlots(1, Logger(label: "test"))
    slots.take()
    var order: [Int] = []
    func wait(_ number: Int) {
      slots.whenFree {
        guard slots.isFree else { return wait(number) }
        slots.take()
        order.append(number)
      }
    }
    for number in 1...3 { wait(number) }
    for _ in 1...3 { slots.release() }
    #expect(order == [1, 2, 3] && slots.used == 1)
  }
}
