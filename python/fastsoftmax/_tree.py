"""Trees over classes."""

from __future__ import annotations

from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, _tree_files
from ._integers import integers, list_of_integers
from ._results import Paths
from ._tree_arguments import read_paths


class Tree:
    """A tree whose leaves are classes; each inner node chooses between its children. Immutable.

    Leaves are ids 0 to ``num_leaves - 1``, inner node j is id ``num_leaves + j``.

    In a binary tree every inner node has two children and one vector w, row j of the node weights;
    with ``z = x @ w`` the child of code 0 has probability ``sigmoid(z)``, that of code 1
    ``sigmoid(-z)``, as in word2vec. In other trees the children of a node share a softmax, and
    every id has a vector, in the row of that number; that of the root is not used.

    Trees are made by `huffman`, `balanced`, `from_parents`, `from_paths`, `from_clusters` and
    `load`. They can be compared, hashed, copied and pickled.

    Attributes
    ----------
    num_leaves : int
        The number of classes.
    num_nodes : int
        The number of inner nodes. A tree of one leaf may have none; the leaf has probability 1.
    num_weights : int
        Rows of the node weights: `num_nodes` for a binary tree, else ``num_leaves + num_nodes``.
    is_binary : bool
        Whether nodes choose by a sigmoid, else by a softmax.
    max_depth : int
        The largest depth of a leaf.

    Notes
    -----
    Time and memory are linear in the number of ids, of which there are at most ``2**31 - 1``,
    whatever the depth.

    References
    ----------
    .. [1] D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", 1952.
    .. [2] F. Morin and Y. Bengio, "Hierarchical Probabilistic Neural Network Language Model", 2005.
    .. [3] T. Mikolov et al., "Distributed Representations of Words and Phrases and their
           Compositionality", 2013.
    .. [4] J. Goodman, "Classes for Fast Maximum Entropy Training", 2001.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> tree = fs.Tree.huffman([50, 20, 20, 10])
    >>> tree
    Tree(num_leaves=4, num_nodes=3, is_binary=True, max_depth=3)
    >>> tree.depth([0, 1, 2, 3])
    array([1, 2, 3, 3])
    """

    __slots__ = ("_tree",)
    _tree: _core._Tree

    def __init__(self) -> None:
        raise TypeError("trees are made by Tree.huffman, balanced, from_parents, from_paths, ...")

    @classmethod
    def _of(cls, tree: _core._Tree) -> Tree:
        result = object.__new__(cls)
        result._tree = tree
        return result

    @classmethod
    def huffman(cls, counts: Any) -> Tree:
        """Binary tree of the Huffman code of `counts`: the smallest mean depth there is.

        Parameters
        ----------
        counts : array_like of int, shape (V,)
            How often each class occurs, in any order, zeros included. Not negative; the sum is
            below ``2**63``.

        Raises
        ------
        ValueError
            For negative counts, a sum that is too large, no count, an array of another shape.
        TypeError
            For elements that are not integers.

        Notes
        -----
        The mean depth is at most one bit above the entropy of the counts. Of the codes that
        reach it, this is one of the smallest greatest depth, in canonical form: leaves in the
        order of (depth, id) take places from left to right, and of equal counts the first has
        the smallest depth. Inner nodes are numbered depth-first, from the root, node 0.
        """
        return cls._of(_core._Tree.huffman(list_of_integers(counts, "counts")))

    @classmethod
    def balanced(cls, num_leaves: SupportsIndex) -> Tree:
        """Binary tree whose leaves have depths that differ by one at most, in order.

        Inner nodes are numbered depth-first, from the root, node 0.

        Raises
        ------
        ValueError
            For a number below 1 or above ``2**30``.
        TypeError
            For anything but an int.
        """
        return cls._of(_core._Tree.balanced(num_leaves))

    @classmethod
    def from_parents(cls, parents: Any, codes: Any = None, *, binary: bool | None = None) -> Tree:
        """Tree in which id i is a child of ``parents[i]``, -1 for the root.

        Parameters
        ----------
        parents : array_like of int
            One for each id. Ids that are nobody's parent are the leaves, and come first.
        codes : array_like of int, optional
            Which child of its parent an id is: 0 to m - 1 among m children, -1 for the root.
            Default: children are in the order of their ids.
        binary : bool, optional
            Whether the tree is binary (see `Tree`). Default: it is if every inner node has two
            children. True refuses other trees.

        Raises
        ------
        ValueError
            For parents that are no ids, cycles, no root or several, leaves that do not come first,
            codes that are not 0 to m - 1 once each, and nodes that have not two children where
            `binary` is True. The message names an id.
        TypeError
            For elements that are not integers.
        """
        ids = list_of_integers(parents, "parents")
        given = None if codes is None else list_of_integers(codes, "codes")
        return cls._of(_core._Tree.from_parents(ids, given, binary))

    @classmethod
    def from_paths(cls, nodes: Any, codes: Any, offsets: Any = None) -> Tree:
        """Binary tree by the way from the root to each leaf.

        Parameters
        ----------
        nodes, codes
            The inner nodes that are passed, from the root on, and the code, 0 or 1, that is taken
            at each: a list of arrays, one for each leaf, or arrays of shape (V, longest path)
            with -1 behind the ends of paths, or flat arrays with `offsets`. Nodes keep their
            numbers, 0 to V - 2.
        offsets : array_like of int, shape (V + 1,), optional
            Leaf i has entries ``offsets[i]`` to ``offsets[i + 1] - 1`` of flat `nodes` and
            `codes`. ``Tree.from_paths(*tree.paths())`` is `tree`.

        Raises
        ------
        ValueError
            For leaves without a path, nodes and codes of different lengths, other codes than 0 and
            1, nodes out of range, leaves of the same path, a path that is the beginning of another,
            a node that is reached in two ways, and a code that no path takes. The message names a
            leaf or a node.
        TypeError
            For elements that are not integers.

        Notes
        -----
        The tree and the vectors of a gensim model ``Word2Vec(..., hs=1)``, which has the same
        convention of codes, are::

            wv = model.wv
            tree = Tree.from_paths(
                [wv.get_vecattr(word, "point") for word in wv.index_to_key],
                [wv.get_vecattr(word, "code") for word in wv.index_to_key],
            )
            node_weights = model.syn1[: tree.num_nodes]
        """
        if offsets is None:
            flat = read_paths(nodes, codes)
        else:
            flat = (
                list_of_integers(nodes, "nodes"),
                list_of_integers(codes, "codes"),
                list_of_integers(offsets, "offsets"),
            )
        return cls._of(_core._Tree.from_paths(*flat))

    @classmethod
    def from_clusters(cls, labels: Any) -> Tree:
        """Two levels: the root chooses a cluster, the cluster a leaf, each by a softmax.

        Parameters
        ----------
        labels : array_like of int, shape (V,)
            The cluster of each leaf, 0 to C - 1, none of them empty. Cluster c becomes inner
            node c, the root inner node C.

        Raises
        ------
        ValueError
            For negative labels, and a cluster that is empty.
        TypeError
            For elements that are not integers.
        """
        return cls._of(_core._Tree.from_clusters(list_of_integers(labels, "labels")))

    @property
    def num_leaves(self) -> int:
        return self._tree.num_leaves()

    @property
    def num_nodes(self) -> int:
        return self._tree.num_nodes()

    @property
    def num_weights(self) -> int:
        return self._tree.num_weights()

    @property
    def is_binary(self) -> bool:
        return self._tree.is_binary()

    @property
    def max_depth(self) -> int:
        return self._tree.max_depth()

    @overload
    def depth(self, leaf: int | np.integer[Any]) -> int: ...
    @overload
    def depth(self, leaf: ArrayLike) -> Any: ...
    def depth(self, leaf: Any) -> Any:
        """Count the edges between the root and a leaf.

        Parameters
        ----------
        leaf : int or array_like of int

        Returns
        -------
        int or numpy.ndarray of int64
            An array of the shape of `leaf` where that is one.

        Raises
        ------
        IndexError
            For a leaf that is not in 0 to ``num_leaves - 1``.
        """
        leaves = integers(leaf, "leaf")
        depths = self._tree.depths(leaves.ravel())
        return int(depths[0]) if leaves.ndim == 0 else depths.reshape(leaves.shape)

    def paths(self) -> Paths:
        """Inner nodes and codes on the way to each leaf, in int64.

        Returns
        -------
        Paths
            A named tuple of flat arrays `nodes` and `codes`, from the root on, and of `offsets`,
            of shape (V + 1,): leaf i has entries ``offsets[i]`` to ``offsets[i + 1] - 1``. As many
            entries as the depths of all leaves together.
        """
        return Paths(*self._tree.paths())

    def parents(self) -> NDArray[np.int64]:
        """Id of the parent of each id, -1 for the root: what `from_parents` takes."""
        return self._tree.parents()

    def codes(self) -> NDArray[np.int64]:
        """Which child of its parent each id is, from 0; -1 for the root."""
        return self._tree.codes()

    def save(self, path: _tree_files.AnyPath, node_weights: Any = None) -> None:
        """Write the tree, and its vectors where given, to a file.

        Parameters
        ----------
        path : str or os.PathLike
            A NumPy archive where it ends in ``.npz``, else text. The file appears whole or not at
            all, and replaces one of that name.
        node_weights : array_like of float16, float32 or float64, shape (num_weights, D), optional
            Comes back from `load_weights` with the same bits.

        Raises
        ------
        TypeError, ValueError
            For `node_weights` of another type or shape.
        OSError
            Where the file cannot be written.

        Notes
        -----
        An archive has the entries ``format`` ("fastsoftmax-tree"), ``version`` (1), ``kind``
        ("binary" or "softmax"), ``num_leaves``, ``parents``, ``codes`` and perhaps
        ``node_weights``. Text is a line ``fastsoftmax-tree 1 <kind> <leaves> <nodes>``, for vectors
        followed by their length and, unless float64, their dtype; a line ``<parent> <code>`` for
        each id, ``-1 -1`` for the root; and a line of numbers for each vector.
        """
        _tree_files.save(path, self._tree, node_weights)

    @classmethod
    def load(cls, path: _tree_files.AnyPath) -> Tree:
        """Read a tree that `save` has written, or another program in one of its formats.

        Raises
        ------
        ValueError
            For a file that is damaged, or that holds no tree: what is wrong, and where.
        OSError
            Where the file cannot be read.
        """
        return cls._of(_tree_files.load(path, with_weights=False)[0])

    @classmethod
    def load_weights(cls, path: _tree_files.AnyPath) -> tuple[Tree, NDArray[np.floating[Any]]]:
        """Read a tree and its vectors, of shape (num_weights, D).

        Raises
        ------
        ValueError, OSError
            As `load` raises them, and where the file holds no vectors.
        """
        tree, weights = _tree_files.load(path, with_weights=True)
        if weights is None:
            raise ValueError(f"{path} holds a tree without node weights")
        return cls._of(tree), weights

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        return self._tree.equals(other._tree)

    def __hash__(self) -> int:
        return hash((self.num_leaves, self.num_nodes, self.is_binary, self.max_depth))

    def __repr__(self) -> str:
        return (
            f"Tree(num_leaves={self.num_leaves}, num_nodes={self.num_nodes}, "
            f"is_binary={self.is_binary}, max_depth={self.max_depth})"
        )

    def __copy__(self) -> Tree:
        return self

    def __deepcopy__(self, memo: Any) -> Tree:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        links = (self.parents().astype(np.int32), self.codes().astype(np.int32))
        return _unpickle, (*links, self.is_binary)


def _unpickle(parents: NDArray[np.int32], codes: NDArray[np.int32], binary: bool) -> Tree:
    return Tree.from_parents(parents, codes, binary=binary)
