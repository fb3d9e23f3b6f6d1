//! cuBLASLt's C interface, as little of it as a plan needs, each object destroyed when dropped.
//!
//! cuBLASLt thinks in columns: a row-major matrix `[rows, cols]` is to it a matrix of `cols` rows and `rows`
//! columns. So it is asked for `C^T = B^T A^T`, with the operands in the other order and nothing moved.
#![expect(unsafe_code, reason = "the library's C interface")]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t, cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute, cublasLtReductionScheme_t as Reduction,
    cudaDataType,
};
use cudarc::driver::CudaStream;
use hrm_core::kernels::Write;

use super::super::During;
use crate::error::Error;
use crate::launch::{Dtype, Gemm, Ptr};

/// The library's state for one device.
pub(super) struct Handle(sys::cublasLtHandle_t);

impl Handle {
    pub fn new() -> Result<Self, Error> {
        result::create_handle().during(|| "start of cuBLASLt".into()).map(Self)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: ours, and this is its end. There is nothing to be done if it fails.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    /// A row-major matrix `[rows, cols]`.
    fn new(dtype: Dtype, rows: usize, cols: usize) -> Result<Self, Error> {
        let kind = match dtype {
            Dtype::F32 => cudaDataType::CUDA_R_32F,
            Dtype::Bf16 => cudaDataType::CUDA_R_16BF,
        };
        let layout = result::create_matrix_layout(kind, cols as u64, rows as u64, cols as i64);
        layout.during(|| format!("layout of a matrix of {rows} x {cols}")).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: ours, and this is its end. There is nothing to be done if it fails.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

struct Operation(sys::cublasLtMatmulDesc_t);

impl Operation {
    /// The product `op(first) op(second)`, sums in f32: not TF32.
    fn new(transpose_first: bool, transpose_second: bool) -> Result<Self, Error> {
        let during = || "description of a product".to_owned();
        let compute = cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let operation = Self(result::create_matmul_desc(compute, cudaDataType::CUDA_R_32F).during(during)?);
        let sides = [
            (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, transpose_first),
            (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, transpose_second),
        ];
        for (attribute, transposed) in sides {
            // CUBLAS_OP_N and CUBLAS_OP_T.
            let value = i32::from(transposed);
            let (value, size) = (ptr::from_ref(&value).cast::<c_void>(), size_of_val(&value));
            // SAFETY: the description is alive, and the value is of the attribute's type.
            unsafe { result::set_matmul_desc_attribute(operation.0, attribute, value, size) }
                .during(during)?;
        }
        Ok(operation)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: ours, and this is its end. There is nothing to be done if it fails.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> Result<Self, Error> {
        result::create_matmul_pref().during(|| "preferences for a product".into()).map(Self)
    }

    fn set<T>(&self, attribute: PreferenceAttribute, value: T) -> Result<(), Error> {
        let pointer = ptr::from_ref(&value).cast::<c_void>();
        // SAFETY: the preferences are alive, and the callers below give values of the attributes' types.
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, pointer, size_of::<T>()) }
            .during(|| format!("preference {attribute:?}"))
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: ours, and this is its end. There is nothing to be done if it fails.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// A way to compute a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm(sys::cublasLtMatmulAlgo_t);

/// Bytes to whose multiples every span of a plan is aligned in every element type.
const ALIGNMENT: u32 = 32;

/// What cuBLASLt must know of a product.
pub(super) struct Descriptors {
    operation: Operation,
    a: Layout,
    b: Layout,
    c: Layout,
}

impl Descriptors {
    pub fn new(product: &Gemm) -> Result<Self, Error> {
        let &Gemm { m, n, k, transpose_a, transpose_b, input, output, .. } = product;
        let (a_rows, a_cols) = if transpose_a { (k, m) } else { (m, k) };
        let (b_rows, b_cols) = if transpose_b { (n, k) } else { (k, n) };
        Ok(Self {
            operation: Operation::new(transpose_b, transpose_a)?,
            a: Layout::new(input, a_rows, a_cols)?,
            b: Layout::new(input, b_rows, b_cols)?,
            c: Layout::new(output, m, n)?,
        })
    }

    /// Up to `most` algorithms, the one that should be best first.
    pub fn candidates(
        &self,
        handle: &Handle,
        workspace: usize,
        may_split: bool,
        most: usize,
    ) -> Result<Vec<Algorithm>, Error> {
        use PreferenceAttribute as P;
        let preference = Preference::new()?;
        let schemes = match may_split {
            true => Reduction::CUBLASLT_REDUCTION_SCHEME_MASK,
            false => Reduction::CUBLASLT_REDUCTION_SCHEME_NONE,
        };
        preference.set(P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace)?;
        preference.set(P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes as u32)?;
        for operand in [
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            preference.set(operand, ALIGNMENT)?;
        }
        let mut found = Vec::<sys::cublasLtMatmulHeuristicResult_t>::with_capacity(most);
        let mut count = 0;
        // SAFETY: all descriptions are alive; up to `most` results are written, where there is room for them.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle.0,
                self.operation.0,
                self.b.0,
                self.a.0,
                self.c.0,
                self.c.0,
                preference.0,
                most as i32,
                found.as_mut_ptr(),
                &raw mut count,
            )
        };
        match status.result() {
            Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => return Ok(Vec::new()),
            other => other.during(|| "choice of algorithms by cuBLASLt".into())?,
        }
        // SAFETY: cuBLASLt has written so many results.
        unsafe { found.set_len(most.min(count.unsigned_abs() as usize)) };
        let usable = found.iter().filter(|result| result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        Ok(usable.map(|result| Algorithm(result.algo)).collect())
    }

    /// Whether `algorithm`, proposed for another shape, can compute the product with so many bytes of workspace.
    pub fn allow(&self, handle: &Handle, algorithm: &Algorithm, workspace: usize) -> bool {
        let mut result = MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::uninit();
        // SAFETY: all descriptions and the algorithm are alive, and there is room for the result.
        let status = unsafe {
            sys::cublasLtMatmulAlgoCheck(
                handle.0,
                self.operation.0,
                self.b.0,
                self.a.0,
                self.c.0,
                self.c.0,
                &raw const algorithm.0,
                result.as_mut_ptr(),
            )
        };
        // SAFETY: of an algorithm that is allowed cuBLASLt has written what it needs.
        status.result().is_ok() && unsafe { result.assume_init_ref() }.workspaceSize <= workspace
    }

    /// Launches the product by `algorithm`.
    pub fn multiply(
        &self,
        handle: &Handle,
        product: &Gemm,
        algorithm: &Algorithm,
        workspace: Ptr,
        stream: &CudaStream,
    ) -> Result<(), Error> {
        let (one, beta) = (1.0f32, if product.write == Write::Accumulate { 1.0f32 } else { 0.0 });
        let address = |ptr: Ptr| ptr::with_exposed_provenance_mut::<c_void>(ptr.0 as usize);
        // SAFETY: the operands lie in arenas and have the shapes that were described; the factors are read before
        // the call returns; the workspace is the launcher's, and one stream uses it.
        unsafe {
            result::matmul(
                handle.0,
                self.operation.0,
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&beta).cast(),
                address(product.b),
                self.b.0,
                address(product.a),
                self.a.0,
                address(product.c),
                self.c.0,
                address(product.c),
                self.c.0,
                &raw const algorithm.0,
                address(workspace),
                super::WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
        .during(|| format!("launch of {product:?}"))
    }
}
