// Workgroups counted along x, going on in y: a dispatch may have more than 65,535 of them.
#ifndef GRID_GLSL
#define GRID_GLSL

uint workgroup_index() { return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x; }

#endif
