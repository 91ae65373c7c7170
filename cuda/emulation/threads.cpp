// A block's threads as fibres of one host thread. A fibre runs its kernel thread until that waits or ends; ended, it
// takes the next thread that has not begun, so that a kernel without barriers needs one fibre and no switches.
//
// Threads begin in order, in every second launch in reverse order, and go on in that order too. One block runs at a
// time, one kernel at a time.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "block.h"
#include "cuda_runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim(1), gridDim(1);

enum { STACK_BYTES = 256 * 1024, GUARD_BYTES = 4096, MESSAGE_BYTES = 64, LANES = 32, CANARY = 0x5a };

// ---- switching stacks ----

#if defined(__x86_64__)
// Keeps what the calling convention says a function keeps, and the stack pointer.
extern "C" void emulation_switch(void **out_from, void *to);
__asm__(
    ".text\n.hidden emulation_switch\n.type emulation_switch, @function\n.globl emulation_switch\nemulation_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    ".size emulation_switch, .-emulation_switch\n");

// A stack on which the first switch enters `function`.
static void *first_frame(unsigned char *stack_end, void (*function)()) {
  void **top = reinterpret_cast<void **>(stack_end);
  *--top = nullptr;  // as if called: the return address, which is never used
  *--top = reinterpret_cast<void *>(function);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  return top;
}
#else
#include <ucontext.h>
// Elsewhere by the C library, slower: a "stack pointer" is a context then.
void emulation_switch(void **out_from, void *to) {
  ucontext_t here;
  *out_from = &here;
  swapcontext(&here, static_cast<ucontext_t *>(to));
}
static void *first_frame(unsigned char *stack_end, void (*function)()) {
  ucontext_t *context = reinterpret_cast<ucontext_t *>(stack_end - sizeof(ucontext_t) - 64);
  getcontext(context);
  context->uc_stack.ss_sp = stack_end - STACK_BYTES;
  context->uc_stack.ss_size = STACK_BYTES - sizeof(ucontext_t) - 128;
  context->uc_link = nullptr;
  makecontext(context, function, 0);
  return context;
}
#endif

namespace {

// ---- what is kept of threads, warps and the block ----

// What the lanes of a mask left when they met; kept until each of them has met others or ended.
struct meeting {
  int readers;
  unsigned char left[LANES][MESSAGE_BYTES];
};

struct copy {
  void *target;
  const void *source;  // null: zeros
  size_t size;
};

enum state { NOT_BEGUN, READY, AT_BLOCK, AT_WARP, UNTIL, ENDED };

struct thread {
  state is;
  void *stack_pointer;
  unsigned mask;  // AT_WARP
  const void *bytes;
  size_t size;
  int predicate, answer;        // AT_BLOCK
  bool (*holds)(const void *);  // UNTIL
  const void *what;
  meeting *met;
  std::vector<copy> open;
  std::vector<std::vector<copy>> committed;
};

struct fibre {
  unsigned char *stack;
  void *stack_pointer;
};

struct block_run {
  void (*body)(const void *);
  const void *context;
  unsigned count;    // threads
  bool is_reversed;  // the order of beginning
  unsigned begun, ended;
  std::vector<thread> threads;
  std::vector<fibre> fibres;
  std::vector<unsigned> idle_fibres;
  std::vector<unsigned> fibre_of;  // of each thread
  unsigned running_fibre;
  std::vector<meeting *> free_meetings;
  unsigned current;
  void *scheduler;
  const char *fault;
  unsigned char *shared;
  size_t shared_bytes, shared_capacity;
};

block_run run;
std::mutex one_kernel;
unsigned launch_number;

void enter(unsigned index) {
  run.current = index;
  threadIdx.x = index % blockDim.x;
  threadIdx.y = index / blockDim.x % blockDim.y;
  threadIdx.z = index / (blockDim.x * blockDim.y);
}

unsigned nth(unsigned order) { return run.is_reversed ? run.count - 1 - order : order; }

// Back to the scheduler, until the thread may go on.
void wait() {
  const unsigned index = run.current;
  emulation_switch(&run.threads[index].stack_pointer, run.scheduler);
  enter(index);
}

void leave_meeting(thread *t) {
  if (t->met != nullptr && --t->met->readers == 0) run.free_meetings.push_back(t->met);
  t->met = nullptr;
}

void do_copies(const std::vector<copy> &copies) {
  for (const copy &c : copies) {
    if (c.source != nullptr) {
      std::memcpy(c.target, c.source, c.size);
    } else {
      std::memset(c.target, 0, c.size);
    }
  }
}

void end_thread(thread *t) {
  emulation_copy_commit();
  emulation_copy_wait(0);
  leave_meeting(t);
  t->is = ENDED;
  run.ended++;
}

// AddressSanitizer keeps the locals of a function in memory of the host's thread that called it; a fibre outlives that
// thread and goes on on another.
#if defined(__GNUC__)
#define OUTLIVES_HOST_THREADS __attribute__((no_sanitize("address"), noinline))
#else
#define OUTLIVES_HOST_THREADS
#endif

// What a fibre does: threads, one after the other; the scheduler's when there are none.
OUTLIVES_HOST_THREADS void fibre_main() {
  for (;;) {
    while (run.begun < run.count) {
      const unsigned index = nth(run.begun++);
      run.threads[index].is = READY;
      run.fibre_of[index] = run.running_fibre;
      enter(index);
      run.body(run.context);
      run.running_fibre = run.fibre_of[run.current];
      end_thread(&run.threads[run.current]);
    }
    const unsigned mine = run.running_fibre;
    run.idle_fibres.push_back(mine);
    emulation_switch(&run.fibres[mine].stack_pointer, run.scheduler);
  }
}

unsigned take_fibre() {
  if (run.idle_fibres.empty()) {
    void *memory =
        mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE) != 0) {
      std::fprintf(stderr, "emulation: no memory for a thread's stack\n");
      std::abort();
    }
    fibre made = {static_cast<unsigned char *>(memory), nullptr};
    made.stack_pointer = first_frame(made.stack + STACK_BYTES, fibre_main);
    run.fibres.push_back(made);
    return (unsigned)run.fibres.size() - 1;
  }
  const unsigned index = run.idle_fibres.back();
  run.idle_fibres.pop_back();
  return index;
}

// Lets the lanes that the mask names go on, when all of them have come.
bool try_meeting(unsigned warp, unsigned mask) {
  const unsigned first = warp * LANES;
  for (unsigned lane = 0; lane < LANES; lane++) {
    if ((mask >> lane & 1) == 0) continue;
    if (first + lane >= run.count) emulation_fault("a mask names lanes that the block does not have");
    const thread &t = run.threads[first + lane];
    if (t.is == ENDED) emulation_fault("a mask names a lane that has ended");
    if (t.is != AT_WARP || t.mask != mask) return false;
  }
  if (run.free_meetings.empty()) run.free_meetings.push_back(new meeting);
  meeting *now = run.free_meetings.back();
  run.free_meetings.pop_back();
  now->readers = __builtin_popcount(mask);
  for (unsigned lane = 0; lane < LANES; lane++) {
    if ((mask >> lane & 1) == 0) continue;
    thread *t = &run.threads[first + lane];
    std::memcpy(now->left[lane], t->bytes, t->size);
    leave_meeting(t);
    t->met = now;
    t->is = READY;
  }
  return true;
}

bool try_block() {
  int answer = 0;
  for (unsigned i = 0; i < run.count; i++) {
    if (run.threads[i].is == ENDED) emulation_fault("__syncthreads() after a thread of the block has ended");
    if (run.threads[i].is != AT_BLOCK) return false;
    answer += run.threads[i].predicate;
  }
  for (unsigned i = 0; i < run.count; i++) {
    run.threads[i].is = READY;
    run.threads[i].answer = answer;
  }
  return true;
}

void resume_ready() {
  for (unsigned order = 0; order < run.count && run.fault == nullptr; order++) {
    const unsigned index = nth(order);
    if (run.threads[index].is != READY) continue;
    run.running_fibre = run.fibre_of[index];
    emulation_switch(&run.scheduler, run.threads[index].stack_pointer);
  }
}

bool any_ready() {
  bool found = false;
  for (unsigned i = 0; i < run.count; i++) {
    thread *t = &run.threads[i];
    if (t->is == UNTIL && t->holds(t->what)) t->is = READY;
    found = found || t->is == READY;
  }
  return found;
}

// After a fault: what the fibres were doing is forgotten.
void forget_fibres() {
  run.idle_fibres.clear();
  for (unsigned i = 0; i < run.fibres.size(); i++) {
    run.fibres[i].stack_pointer = first_frame(run.fibres[i].stack + STACK_BYTES, fibre_main);
    run.idle_fibres.push_back(i);
  }
}

void prepare_shared() {
  const size_t needed = run.shared_bytes + 128;
  if (needed > run.shared_capacity) {
    std::free(run.shared);
    run.shared = static_cast<unsigned char *>(std::aligned_alloc(1024, (needed + 1023) / 1024 * 1024));
    run.shared_capacity = needed;
    if (run.shared == nullptr) std::abort();
  }
  std::memset(run.shared, 0xff, run.shared_bytes);  // NaN
  std::memset(run.shared + run.shared_bytes, CANARY, 128);
}

void check_canary() {
  for (size_t i = 0; i < 128 && run.fault == nullptr; i++) {
    if (run.shared[run.shared_bytes + i] != CANARY) run.fault = "a store beyond the dynamic shared memory";
  }
}

void run_block() {
  for (thread &t : run.threads) {
    t.is = NOT_BEGUN;
    t.met = nullptr;
    t.open.clear();
    t.committed.clear();
  }
  run.begun = run.ended = 0;
  prepare_shared();
  emulation_hopper_begin();
  while (run.fault == nullptr && run.ended < run.count) {
    if (run.begun < run.count) {
      const unsigned index = take_fibre();
      run.running_fibre = index;
      emulation_switch(&run.scheduler, run.fibres[index].stack_pointer);
    } else if (any_ready()) {
      resume_ready();
    } else if (!emulation_hopper_idle()) {
      run.fault = "threads wait for each other: not all of them reach the same barrier or shuffle";
    }
  }
  check_canary();
  if (run.fault == nullptr) run.fault = emulation_hopper_end();
}

}  // namespace

void emulation_fault(const char *text) {
  run.fault = text;
  void *ignored;
  emulation_switch(&ignored, run.scheduler);
  std::abort();  // never resumed
}

int emulation_block_wait(int predicate) {
  thread *t = &run.threads[run.current];
  t->is = AT_BLOCK;
  t->predicate = predicate;
  if (!try_block()) wait();
  return t->answer;
}

void emulation_warp_meet(unsigned mask, const void *bytes, size_t size) {
  thread *t = &run.threads[run.current];
  if (size > MESSAGE_BYTES) emulation_fault("a shuffle of more than 64 bytes");
  if ((mask >> emulation_lane() & 1) == 0) emulation_fault("a lane meets others under a mask that leaves it out");
  t->is = AT_WARP;
  t->mask = mask;
  t->bytes = bytes;
  t->size = size;
  if (!try_meeting(run.current / LANES, mask)) wait();
}

const void *emulation_warp_left(int lane) { return run.threads[run.current].met->left[lane]; }

void *emulation_dynamic_shared() { return run.shared; }
size_t emulation_dynamic_shared_bytes() { return run.shared_bytes; }
unsigned emulation_thread() { return run.current; }
bool emulation_is_reversed() { return run.is_reversed; }

void emulation_wait_until(bool (*holds)(const void *what), const void *what) {
  thread *t = &run.threads[run.current];
  t->is = UNTIL;
  t->holds = holds;
  t->what = what;
  wait();
}

void emulation_copy_later(void *target, const void *source, size_t size) {
  run.threads[run.current].open.push_back(copy{target, source, size});
}

void emulation_copy_commit() {
  thread *t = &run.threads[run.current];
  t->committed.push_back(t->open);
  t->open.clear();
}

void emulation_copy_wait(int pending) {
  thread *t = &run.threads[run.current];
  while ((int)t->committed.size() > pending) {
    do_copies(t->committed.front());
    t->committed.erase(t->committed.begin());
  }
}

bool emulation_run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void *), const void *context,
                   const char **out_fault) {
  const std::lock_guard<std::mutex> lock(one_kernel);
  run.body = body;
  run.context = context;
  run.count = block.x * block.y * block.z;
  run.is_reversed = launch_number++ % 2 == 1;
  run.shared_bytes = shared_bytes;
  run.fault = nullptr;
  if (run.threads.size() < run.count) run.threads.resize(run.count);
  run.fibre_of.assign(run.count, 0);
  gridDim = grid;
  blockDim = block;
  const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
  for (uint64_t i = 0; i < blocks && run.fault == nullptr; i++) {
    const uint64_t number = run.is_reversed ? blocks - 1 - i : i;
    blockIdx.x = (unsigned)(number % grid.x);
    blockIdx.y = (unsigned)(number / grid.x % grid.y);
    blockIdx.z = (unsigned)(number / ((uint64_t)grid.x * grid.y));
    run_block();
  }
  *out_fault = run.fault;
  if (run.fault != nullptr) forget_fibres();
  return run.fault == nullptr;
}
