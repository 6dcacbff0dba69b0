select 1 as id, 'us' || 'x' as region, 3 * 2 as amount
