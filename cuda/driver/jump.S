/* cambiumCudaJump goes to driver function number eax (w16), found at its first call: argument registers stay as they are. */
.text
.globl cambiumCudaJump
.hidden cambiumCudaJump
#if defined(__x86_64__)
.type cambiumCudaJump, @function
cambiumCudaJump:
    leaq cambiumCudaFunctions(%rip), %r11
    movq (%r11,%rax,8), %r11
    testq %r11, %r11
    jz 1f
    jmp *%r11
1:  pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    subq $8, %rsp
    movl %eax, %edi
    call cambiumCudaResolve
    addq $8, %rsp
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    jmp *%rax
#elif defined(__aarch64__)
.type cambiumCudaJump, %function
cambiumCudaJump:
    adrp x17, cambiumCudaFunctions
    add x17, x17, :lo12:cambiumCudaFunctions
    ldr x17, [x17, w16, uxtw #3]
    cbz x17, 1f
    br x17
1:  stp x29, x30, [sp, #-80]!
    mov x29, sp
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    mov w0, w16
    bl cambiumCudaResolve
    mov x17, x0
    ldp x0, x1, [sp, #16]
    ldp x2, x3, [sp, #32]
    ldp x4, x5, [sp, #48]
    ldp x6, x7, [sp, #64]
    ldp x29, x30, [sp], #80
    br x17
#endif
.section .note.GNU-stack,"",%progbits
