// What cuda/hopper.cuh needs of a block that runs on the host: barriers in shared memory, bulk tensor copies, barriers
// of parts of a block, products of a warpgroup. The driver's encoder of tensor maps is here too.
//
// A tensor map holds what it was made of: words 0 address, 1 to 4 sizes, 5 to 7 strides in bytes, 8 to 11 the box, 12 a
// mark.
#include "cuda/hopper.cuh"

#include <deque>
#include <map>
#include <vector>

#include "block.h"

namespace {

enum { MADE = 0x6b };  // byte of a barrier's memory
const uint64_t MAP_MARK = 0x70616d20726f736e;
enum { THREADS_LIMIT = 1024, PART_BARRIERS = 16 };

struct phase_barrier {
  uint32_t arrivals, missing;  // of a phase, and still to come
  int64_t bytes;               // expected and not yet copied
  uint32_t phase;              // parity of the one that is not complete
  uint64_t completed;          // phases
  unsigned maker;
  bool is_published;
};

struct bulk_copy {
  unsigned char *shared;
  tensor_map map;
  uint64_t *barrier;
  uint32_t at[4];
};

struct part_barrier {
  unsigned threads, arrived;
  uint64_t completed;
  bool any, last_any;
};

// Of a thread: results that products are under way to, and these products by group.
struct products {
  std::map<float (*)[4], std::vector<float>> results;
  std::vector<emulation_product> open;
  std::deque<std::vector<emulation_product>> groups;
  size_t started;
};

bool is_used;  // by this block
std::map<uint64_t *, phase_barrier> phase_barriers;
std::deque<bulk_copy> copies;
part_barrier part_barriers[PART_BARRIERS];
products of_thread[THREADS_LIMIT];
std::vector<uint64_t> warpgroup_products[THREADS_LIMIT / WARPGROUP];  // descriptors, in the order of starting

// ---- barriers ----

phase_barrier *made(uint64_t *barrier) {
  const auto found = phase_barriers.find(barrier);
  if (found == phase_barriers.end()) emulation_fault("a barrier in shared memory is used that has not been made");
  unsigned char bytes[sizeof(uint64_t)];
  std::memcpy(bytes, barrier, sizeof(bytes));
  for (unsigned char byte : bytes) {
    if (byte != MADE) emulation_fault("a barrier in shared memory has been overwritten");
  }
  return &found->second;
}

void complete_if_done(phase_barrier *b) {
  if (b->missing > 0 || b->bytes != 0) return;
  b->missing = b->arrivals;
  b->phase ^= 1;
  b->completed++;
}

void arrive(uint64_t *barrier, uint32_t bytes) {
  phase_barrier *b = made(barrier);
  if (b->missing == 0) emulation_fault("more arrivals at a barrier than its phase has");
  b->bytes += bytes;
  b->missing--;
  complete_if_done(b);
}

struct phase_wait {
  const phase_barrier *barrier;
  uint32_t parity;
};

bool is_complete(const void *p) {
  const auto *wait = static_cast<const phase_wait *>(p);
  return wait->barrier->phase != wait->parity;
}

// ---- copies ----

// Where the byte `at` of a swizzled tile lies; both are numbers of shared_address().
uint32_t swizzled(uint32_t at) { return at ^ (at >> 7 & 7) << 4; }

unsigned char *shared_at(uint32_t address) {
  const uint32_t first = shared_address(emulation_dynamic_shared());
  if (address < first || address - first >= emulation_dynamic_shared_bytes())
    emulation_fault("a bulk copy or product goes beyond the dynamic shared memory");
  return static_cast<unsigned char *>(emulation_dynamic_shared()) + (address - first);
}

void do_copy(const bulk_copy &c) {
  const uint64_t *const sizes = c.map.words + 1, *const strides = c.map.words + 5, *const box = c.map.words + 8;
  const uint64_t count = box[0] * box[1] * box[2] * box[3];
  for (uint64_t i = 0; i < count; i++) {
    uint64_t rest = i, offset = 0;
    bool is_inside = true;
    for (int dimension = 0; dimension < 4; dimension++) {
      const uint64_t at = c.at[dimension] + rest % box[dimension];
      rest /= box[dimension];
      is_inside = is_inside && at < sizes[dimension];
      offset += at * (dimension == 0 ? 2 : strides[dimension - 1]);
    }
    uint16_t value = 0;
    if (is_inside) std::memcpy(&value, reinterpret_cast<const unsigned char *>(c.map.words[0]) + offset, sizeof(value));
    std::memcpy(shared_at(swizzled(shared_address(c.shared) + (uint32_t)i * 2)), &value, sizeof(value));
  }
  phase_barrier *b = made(c.barrier);
  b->bytes -= (int64_t)count * 2;
  complete_if_done(b);
}

// ---- products ----

// The 16 bytes at a multiple of 16 that `address` is in, as 8 values.
const uint16_t *chunk_of(uint32_t address) {
  return reinterpret_cast<const uint16_t *>(shared_at(swizzled(address & ~15u)));
}

// 16 values along the depth.
void read_along(const emulation_product &p, uint32_t address, float *values) {
  const uint16_t *const chunks[2] = {chunk_of(address), chunk_of(address + 16)};
  for (uint32_t k = 0; k < 16; k++) values[k] = p.values[chunks[k / 8][k % 8]];
}

struct matrix {
  uint32_t start, leading, stride;
};
matrix matrix_of(uint64_t descriptor) {
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) emulation_fault("a descriptor of another swizzle");
  return matrix{(uint32_t)(descriptor & 0x3fff) << 4, (uint32_t)(descriptor >> 16 & 0x3fff) << 4,
                (uint32_t)(descriptor >> 32 & 0x3fff) << 4};
}

void multiply(const emulation_product &p, std::vector<float> *results) {
  float left[2][16], right[2][16];
  const unsigned row = emulation_thread() % WARPGROUP / 32 * 16 + (unsigned)emulation_lane() / 4;
  std::memcpy(left, p.left, sizeof(left));
  if (p.registers == nullptr) {
    const matrix a = matrix_of(p.a);
    for (uint32_t half = 0; half < 2; half++) {
      const uint32_t r = row + 8 * half;
      read_along(p, a.start + r / 8 * a.stride + r % 8 * 128, left[half]);
    }
  } else if (std::memcmp(p.registers, p.kept, sizeof(p.kept)) != 0) {
    emulation_fault("registers that a product reads have been written before it was waited for");
  }
  const matrix b = matrix_of(p.b);
  for (uint32_t tile = 0; tile < (uint32_t)p.tiles; tile++) {
    const uint32_t n = 8 * tile + (uint32_t)emulation_lane() % 4 * 2;
    if (p.is_across) {
      for (uint32_t k = 0; k < 16; k++) {
        const uint16_t *chunk = chunk_of(b.start + n / 64 * b.leading + k / 8 * b.stride + k % 8 * 128 + n % 64 * 2);
        for (uint32_t e = 0; e < 2; e++) right[e][k] = p.values[chunk[n % 8 + e]];
      }
    } else {
      for (uint32_t e = 0; e < 2; e++) read_along(p, b.start + tile * b.stride + (n % 8 + e) * 128, right[e]);
    }
    for (uint32_t i = 0; i < 4; i++) {
      float sum = 0;
      for (uint32_t k = 0; k < 16; k++) sum += left[i / 2][k] * right[i % 2][k];
      float *result = &(*results)[tile * 4 + i];
      *result = (p.adds ? *result : 0) + sum;
    }
  }
}

const uint32_t POISON = 0xffffa5a5;  // NaN: a result that is under way

void finish_group(products *mine) {
  for (const emulation_product &p : mine->groups.front()) multiply(p, &mine->results[p.d]);
  mine->groups.pop_front();
  for (auto it = mine->results.begin(); it != mine->results.end();) {
    bool is_wanted = false;
    for (const auto &group : mine->groups) {
      for (const emulation_product &p : group) is_wanted = is_wanted || p.d == it->first;
    }
    if (is_wanted) {
      ++it;
      continue;
    }
    for (size_t i = 0; i < it->second.size(); i++) {
      float *result = &it->first[i / 4][i % 4];
      if (__float_as_uint(*result) != POISON) emulation_fault("results of a product are touched while it is under way");
      *result = it->second[i];
    }
    it = mine->results.erase(it);
  }
}

// ---- the encoder ----

// cuTensorMapEncodeTiled for the tensors that the kernels here take.
int encode_tiled(void *map, int type, uint32_t rank, void *address, const uint64_t *sizes, const uint64_t *strides,
                 const uint32_t *box, const uint32_t *element_strides, int interleave, int swizzle, int promotion,
                 int fill) {
  enum { INVALID_VALUE = 1, TYPE_UINT16 = 1, SWIZZLE_128B = 3 };
  static_cast<void>(promotion);
  if ((uintptr_t)map % 64 != 0 || (uintptr_t)address % 16 != 0 || type != TYPE_UINT16 || rank != 4 || interleave != 0 ||
      swizzle != SWIZZLE_128B || fill != 0 || box[0] * 2 != 128)
    return INVALID_VALUE;
  for (uint32_t i = 0; i < 4; i++) {
    if (sizes[i] == 0 || sizes[i] > (uint64_t)1 << 32 || box[i] == 0 || box[i] > 256 || element_strides[i] != 1)
      return INVALID_VALUE;
    if (i < 3 && (strides[i] % 16 != 0 || strides[i] >= (uint64_t)1 << 40)) return INVALID_VALUE;
  }
  tensor_map made = {};
  made.words[0] = reinterpret_cast<uint64_t>(address);
  for (uint32_t i = 0; i < 4; i++) made.words[1 + i] = sizes[i];
  for (uint32_t i = 0; i < 3; i++) made.words[5 + i] = strides[i];
  for (uint32_t i = 0; i < 4; i++) made.words[8 + i] = box[i];
  made.words[12] = MAP_MARK;
  std::memcpy(map, &made, sizeof(made));
  return 0;
}

}  // namespace

void *emulation_tensor_map_encoder() { return reinterpret_cast<void *>(encode_tiled); }

// ---- what a block begins and ends with, and what goes on while all of its threads wait ----

void emulation_hopper_begin() {
  if (!is_used) return;
  is_used = false;
  phase_barriers.clear();
  copies.clear();
  for (part_barrier &b : part_barriers) b = part_barrier();
  for (products &p : of_thread) {
    p.results.clear();
    p.open.clear();
    p.groups.clear();
    p.started = 0;
  }
  for (auto &started : warpgroup_products) started.clear();
}

bool emulation_hopper_idle() {
  if (copies.empty()) return false;
  const bulk_copy next = copies.front();
  copies.pop_front();
  do_copy(next);
  return true;
}

const char *emulation_hopper_end() {
  if (!is_used) return nullptr;
  if (!copies.empty()) return "a block ends while bulk copies are under way";
  for (const products &p : of_thread) {
    if (!p.groups.empty() || !p.open.empty()) return "a thread ends while products are under way";
  }
  return nullptr;
}

// ---- cuda/hopper.cuh ----

uint32_t shared_address(const void *p) {
  // As on the GPU: after 1 KiB of the system's own; aligned to 128 bytes and no more.
  return (uint32_t)(static_cast<const unsigned char *>(p) -
                    static_cast<const unsigned char *>(emulation_dynamic_shared())) +
         1024 + 128;
}

void phase_barrier_init(uint64_t *barrier, uint32_t arrivals) {
  if ((uintptr_t)barrier % 8 != 0) emulation_fault("a barrier in shared memory is not aligned to 8 bytes");
  is_used = true;
  std::memset(barrier, MADE, sizeof(*barrier));
  phase_barriers[barrier] = phase_barrier{arrivals, arrivals, 0, 0, 0, emulation_thread(), false};
}

void phase_barriers_made() {
  for (auto &b : phase_barriers) {
    if (b.second.maker == emulation_thread()) b.second.is_published = true;
  }
}

void phase_barrier_arrive(uint64_t *barrier) { arrive(barrier, 0); }
void phase_barrier_expect(uint64_t *barrier, uint32_t bytes) { arrive(barrier, bytes); }

void phase_barrier_wait(uint64_t *barrier, uint32_t parity, uint32_t patience) {
  static_cast<void>(patience);
  const phase_wait wait = {made(barrier), parity};
  if (parity > 1) emulation_fault("a parity is 0 or 1");
  if (is_complete(&wait)) return;
  const uint64_t completed = wait.barrier->completed;
  emulation_wait_until(is_complete, &wait);
  if (wait.barrier->completed != completed + 1) emulation_fault("a thread sleeps through a phase of a barrier");
}

void tensor_copy(void *shared, const tensor_map *map, uint64_t *barrier, uint32_t x, uint32_t y, uint32_t z,
                 uint32_t w) {
  if (map->words[12] != MAP_MARK) emulation_fault("a tensor map that has not been encoded");
  if (shared_address(shared) % 1024 != 0) emulation_fault("a swizzled tile is not aligned to 1024 bytes");
  if (!made(barrier)->is_published) emulation_fault("a bulk copy's barrier has not been made visible to it");
  copies.push_back(bulk_copy{static_cast<unsigned char *>(shared), *map, barrier, {x, y, z, w}});
  while (emulation_is_reversed() && emulation_hopper_idle()) {
  }
}

static bool part_done(const void *p) {
  const auto *wait = static_cast<const std::pair<const part_barrier *, uint64_t> *>(p);
  return wait->first->completed != wait->second;
}

static part_barrier *part_arrive(uint32_t barrier, uint32_t threads, bool mine) {
  if (barrier == 0 || barrier >= PART_BARRIERS || threads % 32 != 0 || threads == 0)
    emulation_fault("a barrier of a part of the block: numbers 1 to 15, whole warps");
  is_used = true;
  part_barrier *b = &part_barriers[barrier];
  if (b->arrived > 0 && b->threads != threads) emulation_fault("a barrier of two numbers of threads");
  b->threads = threads;
  b->any = b->any || mine;
  if (++b->arrived < threads) return b;
  b->arrived = 0;
  b->last_any = b->any;
  b->any = false;
  b->completed++;
  return b;
}

bool part_barrier_or(uint32_t barrier, uint32_t threads, bool mine) {
  if (barrier >= PART_BARRIERS) emulation_fault("a barrier of a part of the block: numbers 1 to 15");
  const uint64_t before = part_barriers[barrier].completed;
  const std::pair<const part_barrier *, uint64_t> wait = {part_arrive(barrier, threads, mine), before};
  if (!part_done(&wait)) emulation_wait_until(part_done, &wait);
  if (wait.first->completed != before + 1) emulation_fault("a thread sleeps through a barrier of a part of the block");
  return wait.first->last_any;
}
void part_barrier_sync(uint32_t barrier, uint32_t threads) { (void)part_barrier_or(barrier, threads, false); }
void part_barrier_arrive(uint32_t barrier, uint32_t threads) { (void)part_arrive(barrier, threads, false); }

void emulation_product_start(const emulation_product &p) {
  const unsigned thread = emulation_thread();
  if (thread >= THREADS_LIMIT) emulation_fault("a block of more than 1024 threads");
  is_used = true;
  products *mine = &of_thread[thread];
  std::vector<uint64_t> *started = &warpgroup_products[thread / WARPGROUP];
  if (mine->started * 2 == started->size()) started->insert(started->end(), {p.a, p.b});
  if ((*started)[mine->started * 2] != p.a || (*started)[mine->started * 2 + 1] != p.b)
    emulation_fault("warps of a warpgroup start different products");
  mine->started++;
  std::vector<float> *results = &mine->results[p.d];
  if (results->empty()) {
    results->assign(&p.d[0][0], &p.d[0][0] + p.tiles * 4);
    for (int i = 0; i < p.tiles * 4; i++) p.d[i / 4][i % 4] = __uint_as_float(POISON);
  }
  mine->open.push_back(p);
}

void warpgroup_commit() {
  products *mine = &of_thread[emulation_thread()];
  mine->groups.push_back(mine->open);
  mine->open.clear();
}

static bool at_once(const void *what) {
  (void)what;
  return true;
}

void emulation_products_wait(int pending) {
  if (emulation_is_reversed())
    emulation_wait_until(at_once, nullptr);  // others go first: who has been let go too soon?
  products *mine = &of_thread[emulation_thread()];
  while ((int)mine->groups.size() > pending) finish_group(mine);
}
